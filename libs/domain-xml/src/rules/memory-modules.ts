import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import { moduleBytes } from '../domain.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';
import type { MemoryModule } from '../vocabulary/small-devices.ts';

/** Memory modules have slots, nodes and addresses of their own (qemuDomainDefValidateMemoryHotplug, virDomainMemoryDefCheckConflict). */
export function checkModules({ devices: { memory }, maxMemory, cpu }: DomainDocument, findings: Findings): void {
  const nodes = Math.max(1, cpu?.numa?.cell.length ?? 0);
  const slots = maxMemory?.slots ?? memory.length;
  if (memory.length > slots) {
    const what = `there are ${memory.length} modules for ${slots} slots`;
    findings.report('xml-invalid', '/domain/maxMemory/@slots', what, 'Raise it');
  }
  memory.forEach((module, i) => {
    const path = pathOf('/domain/devices', 'memory', memory.length, i);
    const report = (below: string, what: string, hint: string) =>
      findings.report('xml-invalid', `${path}${below}`, what, hint);
    const { address, target } = module;
    if ((target.node ?? 0) >= nodes)
      report('/target/node', `the guest has no node ${target.node}`, 'Name one of its NUMA nodes');
    if (module.model === 'nvdimm' && (module.target.label?.size ?? 0) >= target.size)
      report('/target/label/size', 'the label takes all of the module', 'Lower it');
    if (address === undefined) return;
    if (maxMemory !== undefined && address.slot >= slots)
      report('/address/@slot', `there is no slot ${address.slot}`, `Give one below ${slots}`);
    const before = memory.slice(0, i);
    if (before.some((one) => one.address?.slot === address.slot))
      report('/address/@slot', `slot ${address.slot} is used twice`, 'Give each module its own');
    const overlaps = (other: MemoryModule) => endOf(other) > startOf(module) && endOf(module) > startOf(other);
    if (address.base !== undefined && before.some(overlaps))
      report('/address/@base', 'another module is in this place', 'Leave it out');
  });
}

/** Where a module begins; one that QEMU places is nowhere yet. */
const startOf = ({ address }: MemoryModule): number => address?.base ?? Number.POSITIVE_INFINITY;

/** Where it ends: the label of an NVDIMM is not mapped, nor what is left beside it (nvdimm_prepare_memory_region). */
function endOf(module: MemoryModule): number {
  if (module.model === 'dimm') return startOf(module) + moduleBytes(module);
  const step = (module.source.alignsize ?? 2048) * 1024;
  const rest = moduleBytes(module) - (module.target.label?.size ?? 0) * 1024;
  return startOf(module) + Math.floor(rest / step) * step;
}
