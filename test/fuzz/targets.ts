/** What reads from outside, each with valid inputs to damage, and with the one way in which it may refuse. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { completeDomain, DomainXmlError, parseDomain, qemuArguments } from '@ferry/domain-xml';
import { guestXml } from '@ferry/guest';
import { HandoverError, HandoverJournals, OwnerRecords } from '@ferry/handover';
import { JobError, MigrationJobs, systemClock } from '@ferry/jobs';
import { decodeCookie, encodeCookie, MigrationError, parseMigrationUri } from '@ferry/migration';
import { DestAgentService, PrepareRequest } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsService, StartRequest } from '@ferry/proto/ferry/v1/domains';
import { MemoryTls, Protocol } from '@ferry/proto/ferry/v1/migration';
import { MigrateRequest, SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { Monitor, QmpError } from '@ferry/qemu-qmp';

export interface Target {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  /** Words of its language. */
  readonly tokens: readonly string[];
  /** How many damaged inputs `./dev test` tries. */
  readonly runs: number;
  /** Takes an input, or throws. */
  read(input: Buffer): void | Promise<void>;
  /** Whether that is how it refuses. */
  refuses(error: unknown): boolean;
}

type Made = ConstructorParameters<typeof OwnerRecords>[0]['redis'];
const never = new AbortController().signal;
const uuid = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0';
const migrationId = '7c7c6e4e-3c0a-4ab5-9d3f-0c8d5d9f6e11';
const hostUuid = 'c7a5fdbd-cdaf-9455-926a-d65c16db1809';
const policy = { allowedRoots: ['/var/lib/libvirt/images'], maxBytes: 1 << 20 };

const host = { machineAliases: { q35: 'pc-q35-7.2', pc: 'pc-i440fx-7.2' } };

const serial = { type: 'unix', path: '/var/lib/libvirt/images/a.sock' } as const;
const document = guestXml({ name: 'web-1', uuid, memoryMiB: 64, rom: '/var/lib/libvirt/images/rom', serial });
const xmlTokens =
  '<devices> </devices> <disk type="file"> <source file="/x"/> <cpu mode="custom"> <numatune/> <vcpu>999999999</vcpu> &#0; &a; <!DOCTYPE a [<!ENTITY b "c">]> <![CDATA[ xmlns:qemu="x" <?x?>'.split(
    ' ',
  );

const domainXml: Target = {
  name: 'domain-xml',
  seeds: [Buffer.from(document)],
  tokens: xmlTokens,
  runs: 1_500,
  read: (input) => void qemuArguments(completeDomain(parseDomain(input.toString('utf8'), policy), host)),
  refuses: (error) => error instanceof DomainXmlError && error.problems.length <= 256,
};

const origin = {
  migrationId,
  domainUuid: uuid,
  domainName: 'web-1',
  hostName: 'a',
  hostUuid,
  agentAddress: '127.0.0.1:7102',
  run: migrationId,
};
const cookie: Target = {
  name: 'cookie',
  seeds: [encodeCookie('perform3', origin, { vote: { incarnation: 'a:b' }, paused: false }, 1e12)],
  tokens: [],
  runs: 3_000,
  read: (input) => void decodeCookie(input, { from: 'perform3', migrationId, hostUuid: uuid }),
  refuses: (error) => error instanceof MigrationError,
};

const uri: Target = {
  name: 'migration-uri',
  seeds: ['tcp:host-1.example:49152', 'tcp://[::1]:49152', 'unix:/run/ferry/a.sock'].map((text) => Buffer.from(text)),
  tokens: ['tcp:', 'unix:', 'exec:', '//', '[', ']', ','],
  runs: 3_000,
  read: (input) => void parseMigrationUri(input.toString('utf8')),
  refuses: (error) => error instanceof MigrationError && error.kind === 'invalid-uri',
};

/** A QEMU that says what it was given and hangs up. */
function qemuThatSays(words: Buffer): Duplex {
  const qemu = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  qemu.push(words);
  qemu.push(null);
  return qemu;
}

const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}';
const stop = '{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}';
const moved = '{"event": "MIGRATION", "data": {"status": "active"}, "timestamp": {"seconds": 1, "microseconds": 2}}';
const qmp: Target = {
  name: 'qmp',
  seeds: [
    Buffer.from(
      `${greeting}\r\n{"return": {}, "id": 1}\r\n${stop}\r\n${moved}\r\n{"return": {"status": "running", "running": true, "singlestep": false}, "id": 2}\r\n`,
    ),
  ],
  tokens: ['{', '}', '[', '"', '\n', '"return"', '"error"', '"event"', '"id"', 'null', '\\u0000'],
  runs: 500,
  read: async (input) => {
    await using monitor = await Monitor.open(qemuThatSays(input), never);
    await monitor.execute('query-status', {}, never);
  },
  refuses: (error) => error instanceof QmpError,
};

/** Redis as an agent sees it: `reply` is what the one call answers. */
const redisThatSays = (name: string, reply: unknown): Made =>
  ({ defineCommand: () => undefined, on: () => undefined, [name]: async () => reply }) as unknown as Made;
const words = (input: Buffer): string[] => input.toString('utf8').split('\n');

const owner: Target = {
  name: 'owner-record',
  seeds: [Buffer.from(['owner', 'a', '7', 'its QEMU runs', '1795711040347', 'web-1', 'a:b', '', 'seen'].join('\n'))],
  tokens: ['\n', 'owner', 'none'],
  runs: 3_000,
  read: async (input) => {
    const records = new OwnerRecords({ redis: redisThatSays('ferryOwnerLook', words(input)), host: 'a' });
    const found = await records.of(uuid, never);
    if (found !== undefined) new Date(found.sinceMs).toISOString();
  },
  refuses: (error) => error instanceof HandoverError && error.kind === 'register-reply',
};

const fields = {
  kind: 'MIGRATION_OUT',
  domain: uuid,
  migration: migrationId,
  phase: 'perform3',
  owner: 'source-agent@a',
  startedAtMs: '1795711040347',
  finishedAtMs: '1795711040999',
  outcome: 'completed',
  'option:protocol': '3',
  'record:peer': 'b',
};
const job: Target = {
  name: 'job-record',
  seeds: [Buffer.from(Object.entries(fields).flat().join('\n'))],
  tokens: ['\n', 'option:', 'record:', 'reply:', 'kind'],
  runs: 3_000,
  read: async (input) => {
    const pairs = words(input);
    const hash = Object.fromEntries(pairs.flatMap((name, i) => (i % 2 === 0 ? [[name, pairs[i + 1] ?? '']] : [])));
    const me = { host: 'a', owner: 'source-agent@a', kind: 'MIGRATION_OUT', leaseMs: 10_000 } as const;
    const phases = { first: [], next: {} } as unknown as ConstructorParameters<typeof MigrationJobs>[0]['phases'];
    using jobs = new MigrationJobs({ ...me, redis: redisThatSays('hgetall', hash), phases, clock: systemClock });
    const found = await jobs.recordOf(uuid, migrationId, never);
    for (const at of [found?.startedAtMs, found?.finishedAtMs]) if (at !== undefined) new Date(at).toISOString();
  },
  refuses: (error) => error instanceof JobError && error.kind === 'redis-reply',
};

const entry = {
  migrationId,
  domain: uuid,
  name: 'web-1',
  protocol: 3,
  wasRunning: true,
  incarnation: 'a:b',
  run: migrationId,
  peerAddress: '127.0.0.1:7102',
  peerHost: 'b',
  owner: { epoch: 1, sinceMs: 1795711040347 },
  startedOn: '',
  asking: false,
  voteSeen: true,
  promised: ['a:b'],
  decision: 'committed',
  ended: false,
};
const journal: Target = {
  name: 'journal',
  seeds: [Buffer.from(JSON.stringify(entry))],
  tokens: ['{', '}', '[', '"', 'null', '"decision":', '"aborted"', '"ended":true'],
  runs: 500,
  read: async (input) => {
    const dir = mkdtempSync(join(tmpdir(), 'ferry-fuzz-'));
    try {
      writeFileSync(join(dir, `${migrationId}.json`), input);
      const journals = new HandoverJournals(dir, () => undefined);
      await journals.unfinished();
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
  refuses: () => false,
};

const services: readonly ServiceDefinition[] = [SourceAgentService, DestAgentService, DomainsService];
const requests = services.flatMap((service) => Object.values(service).map((method) => method.requestDeserialize));
const options = { bandwidthBytesPerSecond: 1n << 40n, downtimeLimitMs: 300, memoryTls: MemoryTls.MEMORY_TLS_NONE };
const protobuf: Target = {
  name: 'protobuf',
  seeds: [
    MigrateRequest.encode(
      MigrateRequest.fromPartial({
        migrationId,
        domain: 'web-1',
        destination: 'b:7102',
        protocol: Protocol.PROTOCOL_V3,
        options,
      }),
    ).finish(),
    PrepareRequest.encode(
      PrepareRequest.fromPartial({ migrationId, domainXml: document, cookieIn: Buffer.alloc(64) }),
    ).finish(),
    StartRequest.encode(StartRequest.fromPartial({ domainXml: document })).finish(),
  ],
  tokens: [],
  runs: 500,
  // Each message is read as each method's: a caller may send any of them to any.
  read: (input) => {
    const errors = requests.flatMap((read) => {
      try {
        read(input);
        return [];
      } catch (error) {
        return [error];
      }
    });
    const other = errors.find((error) => !(error instanceof Error));
    if (other !== undefined) throw new Error('something else than an Error was thrown', { cause: other });
  },
  refuses: () => false,
};

export const targets: readonly Target[] = [domainXml, cookie, uri, qmp, owner, job, journal, protobuf];
