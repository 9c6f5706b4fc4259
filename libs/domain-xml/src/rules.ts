import type { Findings } from './codec/place.ts';
import { pathOf } from './codec/element-codec.ts';
import type { DomainDocument } from './vocabulary/domain.ts';

/** What must hold across a whole document. */
export function checkDocument(document: DomainDocument, findings: Findings): void {
  checkNumbers(document, findings);
  checkTargets(document, findings);
  checkFamily(document, findings);
}

function checkNumbers({ memory, currentMemory, vcpu, cpu, type }: DomainDocument, findings: Findings): void {
  if (currentMemory !== undefined && currentMemory > memory) {
    findings.report('xml-invalid', '/domain/currentMemory', 'it is more than <memory>', 'Raise <memory> or lower this');
  }
  const topology = cpu?.topology;
  const places = topology && topology.sockets * topology.dies * topology.cores * topology.threads;
  if (places !== undefined && places !== vcpu.count) {
    const what = `the topology has places for ${places} vCPUs, <vcpu> says ${vcpu.count}`;
    findings.report('xml-invalid', '/domain/cpu/topology', what, 'Make them equal');
  }
  if (cpu?.mode === 'host-passthrough' && type !== 'kvm') {
    const what = 'host-passthrough needs hardware virtualization';
    findings.report('xml-unsupported', '/domain/cpu/@mode', what, "Use <domain type='kvm'> or a custom CPU model");
  }
}

function checkTargets({ devices }: DomainDocument, findings: Findings): void {
  const seen = new Set<string>();
  devices.disk.forEach((disk, i) => {
    const path = `${pathOf('/domain/devices', 'disk', devices.disk.length, i)}/target/@dev`;
    if (seen.has(disk.target.dev)) {
      findings.report('xml-invalid', path, `two disks are called ${disk.target.dev}`, 'Give each disk its own name');
    }
    seen.add(disk.target.dev);
  });
}

function checkFamily({ os, devices }: DomainDocument, findings: Findings): void {
  const isQ35 = /q35/.test(os.type.machine ?? 'pc');
  devices.controller.forEach((controller, i) => {
    if (controller.type !== 'pci') return;
    const path = `${pathOf('/domain/devices', 'controller', devices.controller.length, i)}/@model`;
    const isExpress = controller.model !== 'pci-root';
    if (isExpress !== isQ35) {
      const what = `a ${isQ35 ? 'q35' : 'pc'} machine has no ${controller.model}`;
      findings.report('xml-invalid', path, what, isQ35 ? 'It has a pcie-root' : 'It has a pci-root');
    }
  });
}
