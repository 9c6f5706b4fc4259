import type { Commands, Events } from './generated/qmp.ts';

/** A fake QEMU's answer to one command: the value of `return`, or a FakeRefusal thrown. */
export type FakeAnswer = (args: Readonly<Record<string, unknown>>) => unknown;

/** Thrown by an answer to refuse the command. */
export class FakeRefusal extends Error {
  readonly class: string;

  constructor(message: string, errorClass = 'GenericError') {
    super(message);
    this.class = errorClass;
  }
}

/** How a fake machine speaks unasked. */
export interface FakeVoice {
  emit<E extends keyof Events>(name: E, data: Events[E]): void;
  /** Ends the process, so to say: after the reply that is being given. */
  exit(): void;
}

const migrationCapabilities = [
  'xbzrle',
  'auto-converge',
  'events',
  'postcopy-ram',
  'return-path',
  'pause-before-switchover',
  'late-block-activate',
  'multifd',
  'validate-uuid',
] as const;

/** The little that a machine with nothing in it does: enough for what both a fake and a real QEMU must agree on. */
export function fakeMachine(version: Commands['query-version']['returns'], voice: FakeVoice): Map<string, FakeAnswer> {
  let status: Commands['query-status']['returns']['status'] = 'prelaunch';
  let migration: Commands['query-migrate']['returns'] = {};
  const capabilities = new Map<string, boolean>(migrationCapabilities.map((name) => [name, false]));
  const parameters: Record<string, unknown> = { 'downtime-limit': 300, 'max-bandwidth': 134217728 };
  const become = (next: 'running' | 'paused', event: 'RESUME' | 'STOP') => {
    if (status !== next) voice.emit(event, {});
    status = next;
    return {};
  };
  const migrationBecomes = (next: 'setup' | 'failed') => {
    migration = { status: next, ...(next === 'failed' && { 'error-desc': 'there is nobody to migrate to' }) };
    if (capabilities.get('events')) voice.emit('MIGRATION', { status: next });
  };
  const answers: Record<string, FakeAnswer> = {
    'query-version': () => version,
    'query-status': () => ({ status, running: status === 'running', singlestep: false }),
    'query-name': () => ({}),
    'query-uuid': () => ({ UUID: '00000000-0000-0000-0000-000000000000' }),
    'query-kvm': () => ({ enabled: false, present: false }),
    'query-commands': () => [...machine.keys()].map((name) => ({ name })),
    'query-qmp-schema': () => schemaOf([...machine.keys()]),
    cont: () => become('running', 'RESUME'),
    stop: () => become('paused', 'STOP'),
    system_powerdown: () => (voice.emit('POWERDOWN', {}), {}),
    quit: () => {
      voice.emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' });
      voice.exit();
      return {};
    },
    'qom-get': ({ property }) => {
      throw new FakeRefusal(`Property 'container.${String(property)}' not found`);
    },
    'query-migrate': () => migration,
    'query-migrate-capabilities': () => [...capabilities].map(([capability, state]) => ({ capability, state })),
    'migrate-set-capabilities': ({ capabilities: changes }) => {
      for (const { capability, state } of changes as Commands['query-migrate-capabilities']['returns']) {
        capabilities.set(capability, state);
      }
      return {};
    },
    'query-migrate-parameters': () => parameters,
    'migrate-set-parameters': (changes) => (Object.assign(parameters, changes), {}),
    'migrate-continue': () => {
      throw new FakeRefusal(`Migration not in expected state: ${migration.status ?? 'none'}`);
    },
    migrate: () => {
      migrationBecomes('setup');
      queueMicrotask(() => migrationBecomes('failed'));
      return {};
    },
  };
  const machine = new Map(Object.entries(answers));
  return machine;
}

/** A schema with the commands there are; only `migrate` has arguments. */
function schemaOf(commands: readonly string[]): unknown[] {
  const none = { name: '0', 'meta-type': 'object', members: [] };
  const uri = { name: '1', 'meta-type': 'object', members: [{ name: 'uri', type: 'str' }] };
  const entries = commands.map((name) => {
    return { name, 'meta-type': 'command', 'arg-type': name === 'migrate' ? '1' : '0', 'ret-type': '0' };
  });
  return [none, uri, ...entries];
}
