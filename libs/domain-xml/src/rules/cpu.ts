import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** What QEMU shows of caches and addresses, and of which CPUs (qemuValidateDomainDefCpu). */
export function checkCpu({ cpu }: DomainDocument, findings: Findings): void {
  if (cpu === undefined) return;
  const report = (below: string, what: string, hint: string) =>
    findings.report('xml-invalid', `/domain/cpu${below}`, what, hint);
  const isOfHost = cpu.mode === 'host-passthrough' || cpu.mode === 'maximum';
  const { cache, maxphysaddr } = cpu;
  if (cache?.mode === 'passthrough' && !isOfHost)
    report('/cache/@mode', 'this CPU has not the caches of the host', "Use 'emulate'");
  if (cache?.mode === 'emulate' && cache.level !== 3)
    report('/cache', 'QEMU emulates a cache of level 3 alone', "Add level='3'");
  if (cache !== undefined && cache.mode !== 'emulate' && cache.level !== undefined)
    report('/cache/@level', 'it is about all levels', 'Remove it');
  if (maxphysaddr?.mode === 'passthrough' && !isOfHost)
    report('/maxphysaddr/@mode', 'this CPU has not the addresses of the host', "Use 'emulate'");
  const stray = maxphysaddr?.mode === 'passthrough' ? 'bits' : 'limit';
  if (maxphysaddr?.[stray] !== undefined)
    report(`/maxphysaddr/@${stray}`, `mode ${maxphysaddr.mode} has no ${stray}`, 'Remove it');
}
