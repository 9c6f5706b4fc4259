/** What a journal says, and how that is read back. */
import { HandoverError } from './errors.ts';

/** An ownership record, as far as one that is newer can be told by it. */
export interface NotedOwner {
  readonly epoch: number;
  readonly sinceMs: number;
}

/** One side's word. */
export interface HandoverEntry {
  readonly migrationId: string;
  readonly domain: string;
  readonly name: string;
  readonly protocol: 2 | 3;
  /** The guest's CPUs ran when it began. */
  readonly wasRunning: boolean;
  /** The life of the register that this side votes or commits under. */
  readonly incarnation: string;
  /** The nonce of this run of the id, as its record has it; empty in entries of earlier versions. */
  readonly run: string;
  /** HOST:PORT of the other agent; empty if not known. */
  readonly peerAddress: string;
  /** The other host's name; empty if not known. */
  readonly peerHost: string;
  /** What the ownership record said when the migration began here; undefined if it is not known. */
  readonly owner: NotedOwner | undefined;
  /** The other host on which the guest was started instead: no copy of this migration may continue. Empty for none. */
  readonly startedOn: string;
  /** The source is done with the register: it has asked the destination, or is about to, and trusts its word alone. */
  readonly asking: boolean;
  /** The source has voted, as this side knows: the guest was sent whole and stopped for good. */
  readonly voteSeen: boolean;
  /** The lives of the register under which this side will never commit. */
  readonly promised: readonly string[];
  readonly decision: 'committed' | 'aborted' | undefined;
  /** Nothing is left to do; kept to answer the other side. */
  readonly ended: boolean;
}

export function damaged(path: string, why: string, cause?: unknown): HandoverError {
  return new HandoverError(
    'journal-damaged',
    `${path} is damaged (${why}): only the other host can tell now how the migration was decided`,
    cause === undefined ? undefined : { cause },
  );
}

/** Throws HandoverError journal-damaged. */
export function decodeEntry(text: string, path: string): HandoverEntry {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(path, 'it is no JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw damaged(path, 'it is no object');
  const entry: Record<string, unknown> = { ...value };
  const string = (name: string): string => {
    const field = entry[name];
    if (typeof field === 'string') return field;
    throw damaged(path, `${name} is missing`);
  };
  const { protocol, wasRunning, asking, voteSeen = false, promised, decision, ended } = entry;
  if (protocol !== 2 && protocol !== 3) throw damaged(path, 'protocol is wrong');
  if (typeof wasRunning !== 'boolean') throw damaged(path, 'wasRunning is wrong');
  if (typeof asking !== 'boolean') throw damaged(path, 'asking is wrong');
  if (typeof ended !== 'boolean') throw damaged(path, 'ended is wrong');
  if (typeof voteSeen !== 'boolean') throw damaged(path, 'voteSeen is wrong');
  if (!Array.isArray(promised) || !promised.every((each) => typeof each === 'string'))
    throw damaged(path, 'promised is wrong');
  if (decision !== undefined && decision !== 'committed' && decision !== 'aborted')
    throw damaged(path, 'decision is wrong');
  return {
    migrationId: string('migrationId'),
    domain: string('domain'),
    name: string('name'),
    protocol,
    wasRunning,
    incarnation: string('incarnation'),
    run: entry['run'] === undefined ? '' : string('run'),
    peerAddress: string('peerAddress'),
    peerHost: entry['peerHost'] === undefined ? '' : string('peerHost'),
    owner: notedOwner(entry['owner']),
    startedOn: entry['startedOn'] === undefined ? '' : string('startedOn'),
    asking,
    voteSeen,
    promised,
    decision,
    ended,
  };
}

/** One that cannot be read proves nothing. */
function notedOwner(value: unknown): NotedOwner | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { epoch, sinceMs }: { epoch?: unknown; sinceMs?: unknown } = value;
  return typeof epoch === 'number' && typeof sinceMs === 'number' ? { epoch, sinceMs } : undefined;
}
