/** What the handover needs of a Redis besides its answers: read at each connection, and what is missing is logged with what to set. */
import type { Redis } from 'ioredis';
import type { Log } from './log.ts';

const page = 'docs/operations.md, “Redis for Ferry”';

/** A setting that is not as the handover needs it. */
export interface Lacking {
  readonly setting: string;
  readonly is: string;
  readonly set: string;
}

/** What is missing; what cannot be read, since an ACL refuses CONFIG, counts as set. Throws what Redis says to INFO. */
export async function lackingSettings(redis: Redis): Promise<{ lacking: Lacking[]; refused: string | undefined }> {
  const replication = await redis.info('replication');
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(replication)?.[1] ?? '';
  const role = field('role');
  if (role !== 'master')
    return { lacking: [{ setting: 'role', is: role, set: 'connect to the master' }], refused: undefined };
  try {
    const value = async (name: string): Promise<string> => {
      const reply: unknown = await redis.config('GET', name);
      const found: unknown = Array.isArray(reply) ? reply[1] : undefined;
      return typeof found === 'string' ? found : '';
    };
    const lacking: Lacking[] = [];
    const [limit, policy] = [await value('maxmemory'), await value('maxmemory-policy')];
    // Records of votes and decisions expire, so that policies for volatile keys evict them as well.
    if (limit !== '0' && policy !== 'noeviction')
      lacking.push({ setting: 'maxmemory-policy', is: policy, set: 'noeviction: an evicted record is a lost one' });
    const [appendOnly, save] = [await value('appendonly'), await value('save')];
    if (appendOnly !== 'yes' && save === '')
      lacking.push({ setting: 'appendonly', is: appendOnly, set: 'yes: a restart loses all records' });
    const minReplicas = await value('min-replicas-to-write');
    if (field('connected_slaves') !== '0' && minReplicas === '0')
      lacking.push({
        setting: 'min-replicas-to-write',
        is: minReplicas,
        set: '1: a master that is cut off goes on taking writes',
      });
    return { lacking, refused: undefined };
  } catch (error) {
    return { lacking: [], refused: String(error) };
  }
}

/** Reads them whenever `redis` has connected. The same is logged once, until it has changed. */
export function watchSettings(redis: Redis, log: Log): void {
  let said = '';
  const read = async (): Promise<void> => {
    const { lacking, refused } = await lackingSettings(redis);
    const now = JSON.stringify([lacking, refused]);
    if (now === said) return;
    said = now;
    for (const each of lacking)
      log.warn(each, `Redis is not set up for Ferry: ${each.setting} is ${each.is}, set ${each.set} (${page})`);
    if (refused !== undefined)
      log.warn({ refused }, `the settings of Redis cannot be read: see that they are as ${page} has them`);
  };
  redis.on('ready', () => {
    read().catch((error: unknown) => log.debug({ err: error }, 'the settings of Redis cannot be read now'));
  });
}
