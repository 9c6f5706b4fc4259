/** Ferry's two ways: driven by the caller, one RPC at a time, and peer to peer. Both v3, over TLS with certificates on both sides. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { dial, follow, invoke, openCredentials } from '@ferry/agent';
import type { Lab } from '@ferry/lab';
import { driveMigration } from '@ferry/migration';
import { DestAgentClient, DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsClient, DomainsService } from '@ferry/proto/ferry/v1/domains';
import { type MigrationStatistics, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentClient, SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import type { Contender, Figures } from './contender.ts';
import { type Load, startLoad } from './load.ts';

/** The callers' connections, made once: callers run for long, as agents do. */
export interface Clients extends Disposable {
  readonly source: SourceAgentClient;
  readonly dest: DestAgentClient;
  readonly domainsOfA: DomainsClient;
  readonly domainsOfB: DomainsClient;
}

export async function connect(lab: Lab): Promise<Clients> {
  const credentials = await openCredentials(lab.tls);
  const [a, b] = [lab.host('a'), lab.host('b')];
  const clients = {
    source: dial(a.sourceAddress, credentials, SourceAgentClient),
    dest: dial(b.destAddress, credentials, DestAgentClient),
    domainsOfA: dial(a.sourceAddress, credentials, DomainsClient),
    domainsOfB: dial(b.sourceAddress, credentials, DomainsClient),
  };
  const close = (): void => {
    for (const client of Object.values(clients)) client.close();
  };
  return { ...clients, [Symbol.dispose]: close };
}

/** Which migration, and of what. */
interface Names {
  readonly migrationId: string;
  readonly domain: string;
}

/** Moves a domain from a to b; gives the figures that the source agent has of it in the end. */
type Move = (lab: Lab, clients: Clients, names: Names, signal: AbortSignal) => Promise<MigrationStatistics | undefined>;

const drivenByCaller: Move = async (_lab, { source, dest }, names, signal) => {
  let statistics: MigrationStatistics | undefined;
  const drive = { ...names, protocol: 3, migrationUri: '', options: undefined } as const;
  await driveMigration(
    {
      begin: (request, patience) => invoke(source, SourceAgentService.begin, request, patience),
      perform: (request, patience) => invoke(source, SourceAgentService.perform, request, patience),
      confirm: async (request, patience) => {
        const confirmed = await invoke(source, SourceAgentService.confirm, request, patience);
        statistics = confirmed.statistics;
        return confirmed;
      },
      dumpXml: () => Promise.reject(new Error('only in v2')),
      outcome: () => Promise.reject(new Error('only in v2')),
    },
    {
      prepare: (request, patience) => invoke(dest, DestAgentService.prepare, request, patience),
      finish: (request, patience) => invoke(dest, DestAgentService.finish, request, patience),
    },
    drive,
    signal,
  );
  return statistics;
};

const peerToPeer: Move = async (lab, { source }, names, signal) => {
  const request = {
    ...names,
    destination: lab.host('b').destAddress,
    protocol: Protocol.PROTOCOL_V3,
    migrationUri: '',
    options: undefined,
  };
  for await (const { event } of follow(source, SourceAgentService.migrate, request, signal)) {
    if (event?.event?.$case !== 'ended') continue;
    const { outcome, failure, statistics } = event.event.value;
    if (outcome === Outcome.OUTCOME_COMPLETED) return statistics;
    throw new Error(`the migration ended with ${outcome}: ${failure?.message ?? 'no reason'}`);
  }
  throw new Error('the migration’s events do not end');
};

/** What a machine of two processors bears (test/load.test.ts), and how long it has gone on when the guest is moved, ms. */
const load: Load = { watchers: 200, lists: 200, callsPerSecond: 500, bombs: true };
const loadedMs = 500;

const ferry = (name: string, lab: Lab, clients: Clients, move: Move, beside?: Load): Contender => ({
  name,
  agents: () => [lab.host('a').source.pid, lab.host('b').dest.pid].filter((pid) => pid !== undefined),
  run: async (guest, signal) => {
    await invoke(clients.domainsOfA, DomainsService.start, { domainXml: guest.xml, paused: false }, signal);
    let at = clients.domainsOfA;
    return {
      migrate: async () => {
        const names = { migrationId: randomUUID(), domain: guest.uuid };
        await using _load = beside === undefined ? undefined : await startLoad(lab, beside, names);
        if (beside !== undefined) await delay(loadedMs);
        const began = performance.now();
        const statistics = await move(lab, clients, names, signal);
        const wholeMs = performance.now() - began;
        at = clients.domainsOfB;
        return { wholeMs, ...figuresOf(statistics) };
      },
      [Symbol.asyncDispose]: async () => {
        // Of a bench that is over, the lab's end ends the guests too.
        if (!signal.aborted) await invoke(at, DomainsService.destroy, { domain: guest.uuid }, signal);
      },
    };
  },
});

export const ferryByCaller = (lab: Lab, clients: Clients): Contender =>
  ferry('Ferry, by the caller', lab, clients, drivenByCaller);
export const ferryPeerToPeer = (lab: Lab, clients: Clients): Contender =>
  ferry('Ferry, peer to peer', lab, clients, peerToPeer);

export const ferryUnderLoad = (lab: Lab, clients: Clients): Contender =>
  ferry('likewise, under load', lab, clients, peerToPeer, load);

function figuresOf(statistics: MigrationStatistics | undefined): Omit<Figures, 'wholeMs'> {
  if (statistics === undefined) throw new Error('the agents gave no figures');
  const ms = (us: bigint): number => Number(us) / 1_000;
  return {
    qemuTotalMs: Number(statistics.qemuTotalMs),
    blackoutMs: ms(statistics.blackoutUs),
    controlSourceMs: ms(statistics.controlSourceUs),
    controlDestMs: ms(statistics.controlDestUs),
  };
}
