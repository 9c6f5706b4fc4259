import { pathOf } from './codec/element-codec.ts';
import type { Domain } from './domain.ts';
import type { XmlProblem } from './errors.ts';
import type { Disk } from './vocabulary/disk.ts';

/**
 * What makes it unsafe to move a domain although it could be done, each with what would make it safe (libvirt's
 * qemuMigrationSrcIsSafe, which `--unsafe` overrides). Whether an image is on shared storage is for the host to find out.
 */
export function migrationHazards({ document, devices }: Domain): XmlProblem[] {
  const hazards: XmlProblem[] = [];
  const add = (path: string, what: string, hint: string) => hazards.push({ path, line: 0, what, hint });
  devices.disk.forEach((disk, i) => {
    const mode = disk.driver?.cache ?? 'default';
    if (!isWritten(disk) || mode === 'none' || mode === 'directsync') return;
    const path = `${pathOf('/domain/devices', 'disk', devices.disk.length, i)}/driver/@cache`;
    add(
      path,
      `with cache='${mode}' the destination may read what this host has not written yet`,
      "Use cache='none' or 'directsync'",
    );
  });
  devices.filesystem.forEach((_, i) => {
    const path = pathOf('/domain/devices', 'filesystem', devices.filesystem.length, i);
    add(path, 'QEMU does not move a guest that has it mounted', 'Unmount it in the guest first');
  });
  devices.shmem.forEach((shmem, i) => {
    const path = pathOf('/domain/devices', 'shmem', devices.shmem.length, i);
    if (shmem.role !== 'master') add(path, 'what is shared stays on this host', "Detach it, or give it role='master'");
  });
  const mode = document.cpu?.mode;
  if (mode === 'host-passthrough' || mode === 'host-model') {
    add(
      '/domain/cpu/@mode',
      `${mode} is another CPU on another host`,
      'Use a custom model, or make sure that both hosts are the same',
    );
  }
  return hazards;
}

/** Only what this host writes to can be stale elsewhere; a network's own protocol keeps both sides coherent. */
const isWritten = (disk: Disk): boolean =>
  disk.readonly === undefined && disk.device === 'disk' && disk.type !== 'network';
