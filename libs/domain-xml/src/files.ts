import type { Domain } from './domain.ts';
import type { Backend } from './vocabulary/chardev.ts';
import type { BackingStore, Disk } from './vocabulary/disk.ts';

/** What may be where a file is named; `absent`: QEMU makes it. */
export type FileKind = 'absent' | 'regular' | 'socket' | 'fifo' | 'block' | 'character' | 'directory';

/** A file of the host that QEMU will open. */
export interface DomainFile {
  readonly path: string;
  readonly use:
    | 'disk'
    | 'backing'
    | 'firmware'
    | 'nvram'
    | 'kernel'
    | 'acpi-table'
    | 'initrd'
    | 'fw-cfg'
    | 'chardev-file'
    | 'chardev-socket'
    | 'chardev-log'
    | 'sound-file'
    | 'display-socket'
    | 'vhost-user-socket'
    | 'tpm-socket'
    | 'directory'
    | 'persistent-memory'
    | 'network-config'
    | 'shared-memory';
  readonly readOnly: boolean;
  /** What may be there: QEMU unlinks, truncates or waits for what is something else. */
  readonly expects: readonly FileKind[];
  /** What the file is made from where it is not there yet. */
  readonly template?: string;
}

/** Every file of the host that QEMU will open for this domain. */
export function filesOf(domain: Domain): DomainFile[] {
  const { os, sysinfo, devices } = domain.document;
  const file = (
    use: DomainFile['use'],
    path: string | undefined,
    readOnly: boolean,
    ...kinds: readonly FileKind[]
  ): DomainFile[] =>
    path === undefined ? [] : [{ path, use, readOnly, expects: kinds.length === 0 ? ['regular'] : kinds }];
  return once([
    ...file('firmware', os.loader?.path, os.loader?.type !== 'pflash' || os.loader.readonly === true),
    ...file('nvram', os.nvram?.path, false, os.nvram?.type === 'block' ? 'block' : 'regular').map((one) =>
      os.nvram?.template === undefined
        ? one
        : { ...one, expects: [...one.expects, 'absent' as const], template: os.nvram.template },
    ),
    ...file('firmware', os.nvram?.template, true),
    ...(os.acpi?.table ?? []).flatMap((table) => file('acpi-table', table.path, true)),
    ...file('kernel', os.kernel, true),
    ...file('initrd', os.initrd, true),
    ...sysinfo.flatMap((info) =>
      info.type === 'fwcfg' ? info.entry.flatMap((entry) => file('fw-cfg', entry.file, true)) : [],
    ),
    ...devices.disk.flatMap((disk) => [
      ...file('disk', imageOf(disk), disk.readonly !== undefined, imageKind[disk.type]),
      ...file('network-config', configOf(disk), true),
      ...backing(disk.backingStore),
    ]),
    ...devices.filesystem.flatMap((fs) => [
      ...file('directory', fs.source.dir, fs.readonly !== undefined, 'directory'),
      ...file('vhost-user-socket', fs.source.socket, false, 'socket'),
    ]),
    ...devices.memory.flatMap((module) =>
      module.model === 'nvdimm'
        ? file('persistent-memory', module.source.path, module.target.readonly !== undefined, 'regular', 'character')
        : [],
    ),
    ...(devices.tpm?.backend.type === 'external'
      ? file('tpm-socket', devices.tpm.backend.source.path, false, 'socket')
      : []),
    ...devices.interface.flatMap((card) => file('firmware', card.rom?.file, true)),
    ...devices.interface.flatMap((card) =>
      card.type === 'vhostuser'
        ? file(
            'vhost-user-socket',
            card.source.path,
            false,
            ...(card.source.mode === 'server' ? bound : ['socket' as const]),
          )
        : [],
    ),
    ...backendsOf(devices).flatMap((port) => {
      const log = file('chardev-log', port.log?.file, false, ...made);
      if (port.type === 'unix') {
        const kinds = port.source?.mode === 'connect' ? (['socket'] as const) : bound;
        return [...file('chardev-socket', port.source?.path, false, ...kinds), ...log];
      }
      if (port.type === 'file') return [...file('chardev-file', port.source.path, false, ...made), ...log];
      if (port.type === 'dev') return [...file('chardev-file', port.source.path, false, 'character'), ...log];
      // A pair of pipes, one each way, comes before one that goes both ways (chardev/char-pipe.c).
      if (port.type === 'pipe') {
        const pipes = ['', '.in', '.out'].map((end) => `${port.source.path}${end}`);
        return [...pipes.flatMap((path) => file('chardev-file', path, false, 'fifo', 'absent')), ...log];
      }
      return log;
    }),
    ...devices.audio.flatMap((one) => (one.type === 'file' ? file('sound-file', one.path, false, ...made) : [])),
    ...devices.shmem.flatMap((one) => file('shared-memory', `/dev/shm/${one.name}`, false, ...made)),
    ...devices.graphics.flatMap((one) =>
      one.listen.flatMap((listen) =>
        listen.type === 'socket' ? file('display-socket', listen.socket, false, ...bound) : [],
      ),
    ),
  ]);
}

/** What several devices share is one file: a console is another name for a serial port. */
const once = (files: readonly DomainFile[]): DomainFile[] => [
  ...new Map(files.map((one) => [`${one.use} ${one.expects.join()} ${one.path}`, one])).values(),
];

const made = ['regular', 'absent'] as const;
/** QEMU unlinks what is there before it listens. */
const bound = ['socket', 'absent'] as const;
const imageKind = { file: 'regular', block: 'block', network: 'socket' } as const;

const configOf = (disk: Disk): string | undefined =>
  disk.type === 'network' && disk.source?.protocol === 'rbd' ? disk.source.config?.file : undefined;

function backendsOf(devices: Domain['devices']): readonly Backend[] {
  const { serial, parallel, channel, console, redirdev, smartcard } = devices;
  const random = devices.rng.flatMap(({ backend }) => (backend.model === 'egd' ? [backend] : []));
  return [...serial, ...parallel, ...channel, ...console, ...redirdev, ...smartcard, ...random];
}

function imageOf(disk: Disk): string | undefined {
  if (disk.type === 'file') return disk.source?.file;
  if (disk.type === 'block') return disk.source?.dev;
  return disk.source?.host.find((host) => host.transport === 'unix')?.socket;
}

function backing(store: BackingStore | undefined): DomainFile[] {
  if (store?.path === undefined) return [];
  const expects = [store.type === 'block' ? 'block' : 'regular'] as const;
  return [{ path: store.path, use: 'backing', readOnly: true, expects }, ...backing(store.backingStore)];
}
