import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** What serves a directory must see the guest's memory (qemuValidateDomainDefVhostUserRequireSharedMemory). */
export function checkSharedMemory({ devices, memoryBacking, cpu }: DomainDocument, findings: Findings): void {
  const cells = cpu?.numa?.cell ?? [];
  const backed = memoryBacking?.hugepages !== undefined || memoryBacking?.source?.type === 'memfd';
  const byDefault = memoryBacking?.access === undefined ? backed : memoryBacking.access.mode === 'shared';
  const isShared =
    cells.length === 0
      ? byDefault
      : cells.every((cell) => (cell.memAccess === undefined ? byDefault : cell.memAccess === 'shared'));
  if (isShared) return;
  devices.filesystem.forEach((fs, i) => {
    if (fs.driver?.type !== 'virtiofs') return;
    const path = pathOf('/domain/devices', 'filesystem', devices.filesystem.length, i);
    const hint = "Add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    findings.report('xml-invalid', path, 'virtiofsd must see the memory of the guest', hint);
  });
}
