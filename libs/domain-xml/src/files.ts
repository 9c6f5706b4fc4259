import type { Domain } from './domain.ts';
import type { BackingStore, Disk } from './vocabulary/disk.ts';

/** A file of the host that QEMU will open. */
export interface DomainFile {
  readonly path: string;
  readonly use:
    | 'disk'
    | 'backing'
    | 'firmware'
    | 'nvram'
    | 'kernel'
    | 'initrd'
    | 'fw-cfg'
    | 'chardev-file'
    | 'chardev-socket'
    | 'chardev-log'
    | 'display-socket'
    | 'vhost-user-socket'
    | 'directory';
  readonly readOnly: boolean;
}

/** Every file of the host that QEMU will open for this domain. */
export function filesOf(domain: Domain): DomainFile[] {
  const { os, sysinfo, devices } = domain.document;
  const file = (use: DomainFile['use'], path: string | undefined, readOnly: boolean): DomainFile[] =>
    path === undefined ? [] : [{ path, use, readOnly }];
  return [
    ...file('firmware', os.loader?.path, os.loader?.type === 'rom' || os.loader?.readonly === true),
    ...file('nvram', os.nvram?.path, false),
    ...file('kernel', os.kernel, true),
    ...file('initrd', os.initrd, true),
    ...sysinfo.flatMap((info) =>
      info.type === 'fwcfg' ? info.entry.flatMap((entry) => file('fw-cfg', entry.file, true)) : [],
    ),
    ...devices.disk.flatMap((disk) => [
      ...file('disk', imageOf(disk), disk.readonly !== undefined),
      ...backing(disk.backingStore),
    ]),
    ...devices.filesystem.flatMap((fs) => file('directory', fs.source.dir, fs.readonly !== undefined)),
    ...devices.interface.flatMap((card) =>
      card.type === 'vhostuser' ? file('vhost-user-socket', card.source.path, false) : [],
    ),
    ...[...devices.serial, ...devices.parallel, ...devices.channel, ...devices.console].flatMap((port) => {
      const log = file('chardev-log', port.log?.file, false);
      if (port.type === 'unix') return [...file('chardev-socket', port.source?.path, false), ...log];
      if (port.type === 'file' || port.type === 'pipe' || port.type === 'dev')
        return [...file('chardev-file', port.source.path, false), ...log];
      return log;
    }),
    ...devices.graphics.flatMap((one) =>
      one.listen.flatMap((listen) => (listen.type === 'socket' ? file('display-socket', listen.socket, false) : [])),
    ),
  ].filter((one, i, all) => all.findIndex((other) => other.path === one.path && other.use === one.use) === i);
}

function imageOf(disk: Disk): string | undefined {
  if (disk.type === 'file') return disk.source?.file;
  if (disk.type === 'block') return disk.source?.dev;
  return disk.source.host.find((host) => host.transport === 'unix')?.socket;
}

function backing(store: BackingStore | undefined): DomainFile[] {
  if (store?.path === undefined) return [];
  return [{ path: store.path, use: 'backing', readOnly: true }, ...backing(store.backingStore)];
}
