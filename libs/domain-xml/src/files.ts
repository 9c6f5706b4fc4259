import type { Domain } from './domain.ts';

export interface DomainFile {
  readonly path: string;
  readonly use: 'disk' | 'firmware' | 'kernel' | 'initrd' | 'fw-cfg' | 'chardev-file' | 'chardev-socket';
  readonly readOnly: boolean;
}

/** Every file of the host that QEMU will open for this domain. */
export function filesOf(domain: Domain): DomainFile[] {
  const { os, sysinfo, devices } = domain.document;
  const read = (use: DomainFile['use'], path: string | undefined): DomainFile[] =>
    path === undefined ? [] : [{ path, use, readOnly: true }];
  const files: DomainFile[] = [
    ...read('firmware', os.loader?.path),
    ...read('kernel', os.kernel),
    ...read('initrd', os.initrd),
    ...sysinfo.flatMap((info) => info.entry.flatMap((entry) => read('fw-cfg', entry.file))),
    ...devices.disk.map((disk) => ({
      path: disk.source.file,
      use: 'disk' as const,
      readOnly: disk.readonly !== undefined,
    })),
  ];
  for (const port of devices.serial) {
    if (port.type === 'null') continue;
    const use = port.type === 'file' ? 'chardev-file' : 'chardev-socket';
    files.push({ path: port.source.path, use, readOnly: false });
  }
  return files;
}
