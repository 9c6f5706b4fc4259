import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import { isQ35 } from '../machines.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';
import { checkBooting } from './booting.ts';
import { checkCpu } from './cpu.ts';
import { checkDevices } from './devices.ts';
import { checkDisks } from './disks.ts';
import { checkIommu } from './iommu.ts';
import { checkLabels } from './labels.ts';
import { checkModules } from './memory-modules.ts';
import { checkNuma } from './numa.ts';
import { checkPciControllers } from './pci-controllers.ts';
import { checkSmbios } from './smbios.ts';
import { checkPs2 } from './ps2.ts';
import { checkSharedMemory } from './shared-memory.ts';

/** What must hold across a whole document: what no element can know of itself. */
export function checkDocument(document: DomainDocument, findings: Findings): void {
  const q35 = isQ35(document.os.type.machine ?? 'pc');
  checkMemory(document, findings);
  checkCpus(document, findings);
  checkCpu(document, findings);
  checkSmbios(document, findings);
  checkLabels(document, findings);
  checkModules(document, findings);
  checkNuma(document, findings);
  checkIothreadPins(document, findings);
  checkSharedMemory(document, findings);
  checkBooting(document, findings);
  checkDisks(document, q35, findings);
  checkPciControllers(document, q35, findings);
  checkPs2(document, findings);
  checkIommu(document, q35, findings);
  checkDevices(document, q35, findings);
}

function checkMemory(
  { memory: { kib: memory }, maxMemory, devices, cpu, features }: DomainDocument,
  findings: Findings,
): void {
  if (memory > 2 ** 42) {
    findings.report('xml-invalid', '/domain/memory', 'all memory together is more than 4 PiB', 'Lower it');
  }
  if (maxMemory !== undefined && maxMemory.kib < memory) {
    findings.report('xml-invalid', '/domain/maxMemory', 'it is less than <memory>', 'Raise it');
  }
  if (maxMemory === undefined && devices.memory.length > 0) {
    findings.report('xml-invalid', '/domain/devices/memory', 'memory modules need slots', 'Add <maxMemory slots=…>');
  }
  if (features?.acpi === undefined) {
    devices.memory.forEach((_, i) => {
      const path = pathOf('/domain/devices', 'memory', devices.memory.length, i);
      findings.report('xml-unsupported', path, 'memory modules need ACPI', 'Add <features><acpi/></features>');
    });
  }
  const modules = devices.memory.reduce((sum, module) => sum + module.target.size, 0);
  const cells = cpu?.numa?.cell.length ?? 0;
  const mib = (kib: number) => Math.ceil(kib / 1024);
  if (maxMemory !== undefined && mib(maxMemory.kib) <= mib(memory - modules)) {
    findings.report('xml-invalid', '/domain/maxMemory', 'there is no room for a module above <memory>', 'Raise it');
  }
  if (cells === 0 && memory > 0 && modules >= memory) {
    findings.report(
      'xml-invalid',
      '/domain/memory',
      'the memory modules are as large as all memory',
      'Raise <memory>: it includes them',
    );
  }
}

function checkIothreadPins({ cputune, iothreads = 0, iothreadids }: DomainDocument, findings: Findings): void {
  const ids = new Set(iothreadids?.iothread.map((one) => one.id));
  for (let id = 1; ids.size < iothreads; id += 1) ids.add(id);
  const lost = cputune?.iothreadpin.find((pin) => !ids.has(pin.iothread));
  if (lost === undefined) return;
  findings.report(
    'xml-invalid',
    '/domain/cputune/iothreadpin',
    `there is no I/O thread ${lost.iothread}`,
    'Raise <iothreads>',
  );
}

type EachCpu = NonNullable<DomainDocument['vcpus']>['vcpu'];
/** QEMU is started with the first so many; that others are added by name, as libvirt does it, is not supported (qemuProcessSetupHotpluggableVcpus). */
function checkEachCpu(online: number, each: EachCpu, findings: Findings): void {
  const wrong = each.findIndex(({ id, enabled }) => enabled !== id < online);
  if (wrong >= 0) {
    const path = pathOf('/domain/vcpus', 'vcpu', each.length, wrong);
    const what = `vCPU ${each[wrong]?.id} is ${each[wrong]?.enabled === true ? 'on' : 'off'}, and <vcpu> begins with ${online}`;
    findings.report(
      'xml-unsupported',
      path,
      what,
      'Only the first vCPUs can be on: make them equal, or leave <vcpus> out',
    );
  }
  const twice = each.findIndex(({ id }, i) => each.findIndex((other) => other.id === id) < i);
  if (twice < 0) return;
  const path = pathOf('/domain/vcpus', 'vcpu', each.length, twice);
  findings.report('xml-invalid', path, `vCPU ${each[twice]?.id} is given twice`, 'Remove one');
}

function checkCpus({ vcpu, vcpus, cpu, type, devices }: DomainDocument, findings: Findings): void {
  checkEachCpu(vcpu.current ?? vcpu.count, vcpus?.vcpu ?? [], findings);
  if (vcpu.current !== undefined && vcpu.current > vcpu.count) {
    findings.report('xml-invalid', '/domain/vcpu/@current', `it is more than ${vcpu.count}`, 'Lower it');
  }
  const topology = cpu?.topology;
  const places = topology && topology.sockets * topology.dies * topology.cores * topology.threads;
  if (places !== undefined && places !== vcpu.count) {
    const what = `the topology has places for ${places} vCPUs, <vcpu> says ${vcpu.count}`;
    findings.report('xml-invalid', '/domain/cpu/topology', what, 'Make them equal');
  }
  // qemuValidateDomainVCpuTopology
  if (vcpu.count > 255 && devices.iommu?.driver?.eim !== true) {
    const hint = "Use a q35 machine and <iommu model='intel'><driver intremap='on' eim='on'/></iommu>";
    findings.report('xml-invalid', '/domain/vcpu', 'more than 255 vCPUs need extended interrupts', hint);
  }
  if (cpu?.mode === 'host-passthrough' && type !== 'kvm') {
    const what = 'host-passthrough needs hardware virtualization';
    findings.report('xml-unsupported', '/domain/cpu/@mode', what, "Use <domain type='kvm'> or a custom CPU model");
  }
}
