import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Controller, PciController } from '../vocabulary/controller.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

type Model = PciController['model'];
type Option = keyof NonNullable<PciController['target']>;

interface Options {
  readonly names: readonly string[];
  readonly target: readonly Option[];
  readonly pcihole64?: true;
}

/** QEMU's devices of each model, and what they can be told (qemuValidateDomainDeviceDefControllerPCI). */
const optionsOf: Readonly<Record<Model, Options>> = {
  'pci-root': { names: [], target: ['hotplug'], pcihole64: true },
  'pcie-root': { names: [], target: [], pcihole64: true },
  'pci-bridge': { names: ['pci-bridge'], target: ['chassisNr'] },
  'pcie-root-port': { names: ['pcie-root-port', 'ioh3420'], target: ['chassis', 'port', 'hotplug'] },
  'pcie-to-pci-bridge': { names: ['pcie-pci-bridge'], target: [] },
  'dmi-to-pci-bridge': { names: ['i82801b11-bridge'], target: [] },
  'pcie-switch-upstream-port': { names: ['x3130-upstream'], target: [] },
  'pcie-switch-downstream-port': { names: ['xio3130-downstream'], target: ['chassis', 'port', 'hotplug'] },
  'pci-expander-bus': { names: ['pxb'], target: ['busNr', 'node'] },
  'pcie-expander-bus': { names: ['pxb-pcie'], target: ['busNr', 'node'] },
};

/** A bus that exists on one machine only, and which. */
const machineOf: Readonly<Partial<Record<Model, 'pc' | 'q35'>>> = {
  'pci-root': 'pc',
  'pci-expander-bus': 'pc',
  'pcie-root': 'q35',
  'pcie-root-port': 'q35',
  'dmi-to-pci-bridge': 'q35',
  'pcie-to-pci-bridge': 'q35',
  'pcie-expander-bus': 'q35',
};

/** PCI buses are of the machine, told only what they can be told, and do not hang on themselves. */
export function checkPciControllers({ devices, cpu }: DomainDocument, q35: boolean, findings: Findings): void {
  const { controller: all } = devices;
  const machine = q35 ? 'q35' : 'pc';
  const nodes = cpu?.numa?.cell.length ?? 0;
  all.forEach((c, i) => {
    if (c.type !== 'pci') return;
    const path = pathOf('/domain/devices', 'controller', all.length, i);
    const report = (below: string, what: string, hint: string) =>
      findings.report('xml-invalid', `${path}${below}`, what, hint);
    const isRoot = c.model === 'pci-root' || c.model === 'pcie-root';
    if (c.index !== undefined && isRoot !== (c.index === 0))
      report('/@index', `a ${c.model} cannot have index ${c.index}`, 'The root bus has index 0');
    else if ((machineOf[c.model] ?? machine) !== machine)
      report(
        '/@model',
        `a ${machine} machine has no ${c.model}`,
        `Its buses begin with a ${q35 ? 'pcie' : 'pci'}-root`,
      );
    checkOptions(c, report);
    if (c.target?.node !== undefined && optionsOf[c.model].target.includes('node') && c.target.node >= nodes)
      report('/target/node', `the guest has no node ${c.target.node}`, 'Name one of its NUMA nodes');
    if (isRoot && c.address !== undefined) report('/address', 'a root bus is plugged into nothing', 'Remove it');
    else if (hangsOnItself(c, all)) report('/address', 'it is plugged into itself', 'Leave the address out');
  });
}

function checkOptions(c: PciController, report: (below: string, what: string, hint: string) => void): void {
  const { names, target, pcihole64 } = optionsOf[c.model];
  if (c.modelName !== undefined && !names.includes(c.modelName.name)) {
    const hint = names.length === 0 ? 'Remove it' : `Use ${names.join(' or ')}`;
    report('/model/@name', `a ${c.model} is no ${c.modelName.name}`, hint);
  }
  for (const name of Object.keys(c.target ?? {}) as Option[]) {
    if (target.includes(name)) continue;
    report(`/target/${name === 'node' ? '' : '@'}${name}`, `a ${c.model} has no ${name}`, 'Remove it');
  }
  if (c.pcihole64 !== undefined && pcihole64 === undefined)
    report('/pcihole64', 'only a root bus has a hole', 'Give it to the controller with index 0');
}

/** Whether the way up from a bus comes back to it. */
function hangsOnItself(c: PciController, all: readonly Controller[]): boolean {
  const parentOf = (one: Controller | undefined) =>
    all.find((other) => other.type === 'pci' && one?.address?.type === 'pci' && other.index === one.address.bus);
  let at = parentOf(c);
  // The way up is no longer than there are buses.
  for (let i = 0; i < all.length && at !== undefined && at !== c; i += 1) at = parentOf(at);
  return at === c;
}
