import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import type { Controller, PciController, UsbController } from '../vocabulary/controller.ts';
import {
  device,
  idOf,
  type JsonObject,
  onOff,
  pciPlace,
  required,
  usbPlace,
  virtioName,
  virtioOptions,
} from './json.ts';

/** All controllers, those first that others are plugged into; what the machine has built in needs no option. */
export function controllerArguments(domain: Domain): string[] {
  const order: readonly Controller['type'][] = ['pci', 'usb', 'scsi', 'virtio-serial', 'sata', 'ide', 'ccid', 'fdc'];
  const sorted = order.flatMap((type) => domain.devices.controller.filter((c) => c.type === type));
  // A bridge after the one that it is plugged into.
  const hubs = domain.devices.hub.toSorted((a, b) => portDepth(a.address?.port) - portDepth(b.address?.port));
  const isReader = (c: Controller) => c.type === 'ccid';
  return [
    ...byDepth(sorted.filter((c) => !isReader(c))).flatMap((c) => controllerOption(c, domain)),
    ...hubs.flatMap((hub) => device({ driver: 'usb-hub', id: idOf(hub), ...usbPlace(hub, domain.devices.controller) })),
    // Readers are USB devices, and may be on a hub.
    ...sorted.filter(isReader).flatMap((c) => controllerOption(c, domain)),
  ];
}

const portDepth = (port: string | undefined): number => (port ?? '').split('.').length;

function byDepth(controllers: readonly Controller[]): readonly Controller[] {
  const depth = (c: Controller): number => {
    if (c.address?.type !== 'pci' || c.type !== 'pci') return c.type === 'pci' ? 0 : 1000;
    const { bus } = c.address;
    const parent = controllers.find((one) => one.type === 'pci' && one.index === bus);
    return parent === undefined || parent === c ? 0 : depth(parent) + 1;
  };
  return controllers.toSorted((a, b) => depth(a) - depth(b) || rank(a) - rank(b));
}
/** USB companions come after their master. */
const rank = (c: Controller): number => (c.type === 'usb' && c.master !== undefined ? 1 : 0);

function controllerOption(c: Controller, domain: Domain): string[] {
  const { controller: all } = domain.devices;
  const place = () => pciPlace(c, all);
  switch (c.type) {
    case 'pci':
      return pciOption(c, domain);
    case 'usb':
      return usbOption(c, domain);
    case 'sata':
      return c.index === 0 && isQ35(domain.machine) ? [] : device({ driver: 'ahci', id: idOf(c), ...place() });
    case 'ide':
      return c.index === 0 ? [] : device({ driver: 'piix3-ide', id: idOf(c), ...place() });
    case 'scsi':
      return device({ ...scsiOptions(c), id: idOf(c), ...place() });
    case 'virtio-serial':
      return device({
        driver: virtioName('virtio-serial-pci', c.model),
        id: idOf(c),
        max_ports: c.ports,
        vectors: c.vectors,
        ...virtioOptions(c.driver),
        ...place(),
      });
    case 'ccid':
      return device({ driver: 'usb-ccid', id: idOf(c), ...usbPlace(c, all) });
    case 'fdc':
      // A pc has one built in; on a q35 it is a device on the ISA bus.
      return isQ35(domain.machine) ? device({ driver: 'isa-fdc', id: idOf(c) }) : [];
    default:
      return c satisfies never;
  }
}

function pciOption(c: PciController, { devices, machine }: Domain): string[] {
  if (c.model === 'pci-root' || c.model === 'pcie-root') {
    const host = isQ35(machine) ? 'q35-pcihost' : 'i440FX-pcihost';
    const hotplug = onOff(c.target?.hotplug);
    return [
      ...(c.pcihole64 === undefined ? [] : ['-global', `${host}.pci-hole64-size=${c.pcihole64}K`]),
      ...(hotplug === undefined ? [] : ['-global', `PIIX4_PM.acpi-root-pci-hotplug=${hotplug}`]),
    ];
  }
  const driver = required(c.modelName, 'controller model').name;
  const base = { driver, id: idOf(c), ...pciPlace(c, devices.controller) };
  const { target } = c;
  if (c.model === 'pci-bridge') {
    return device({ ...base, chassis_nr: required(target?.chassisNr, 'chassis') });
  }
  if (c.model === 'pcie-root-port' || c.model === 'pcie-switch-downstream-port') {
    const { chassis, port, hotplug } = required(target, 'port');
    return device({ ...base, port, chassis, hotplug: hotplug === false ? false : undefined });
  }
  if (c.model === 'pci-expander-bus' || c.model === 'pcie-expander-bus') {
    return device({ ...base, bus_nr: required(target?.busNr, 'bus number'), numa_node: target?.node });
  }
  return device(base);
}

const usbDrivers: Readonly<Record<Exclude<NonNullable<UsbController['model']>, 'none'>, string>> = {
  'piix3-uhci': 'piix3-usb-uhci',
  'piix4-uhci': 'piix4-usb-uhci',
  ehci: 'usb-ehci',
  'ich9-ehci1': 'ich9-usb-ehci1',
  'ich9-uhci1': 'ich9-usb-uhci1',
  'ich9-uhci2': 'ich9-usb-uhci2',
  'ich9-uhci3': 'ich9-usb-uhci3',
  'vt82c686b-uhci': 'vt82c686b-usb-uhci',
  'pci-ohci': 'pci-ohci',
  'nec-xhci': 'nec-usb-xhci',
  'qemu-xhci': 'qemu-xhci',
};

function usbOption(c: UsbController, { devices: { controller: all } }: Domain): string[] {
  if (c.model === 'none') return [];
  const driver = usbDrivers[required(c.model, 'USB model')];
  const place = pciPlace(c, all);
  if (c.master === undefined) return device({ driver, id: idOf(c), p2: c.ports, p3: c.ports, ...place });
  const master = all.find((one) => one.type === 'usb' && one.index === c.index && one.master === undefined);
  const masterbus = `${idOf(required(master, 'USB master'))}.0`;
  return device({ driver, masterbus, firstport: c.master.startport, ...place });
}

type ScsiController = Extract<Controller, { type: 'scsi' }>;
const scsiDrivers: Readonly<Partial<Record<NonNullable<ScsiController['model']>, string>>> = {
  lsilogic: 'lsi',
  lsisas1068: 'mptsas1068',
  lsisas1078: 'megasas',
  vmpvscsi: 'pvscsi',
  am53c974: 'am53c974',
  dc390: 'dc390',
};

function scsiOptions({ model, driver }: ScsiController): JsonObject {
  const emulated = scsiDrivers[required(model, 'SCSI model')];
  if (emulated !== undefined) return { driver: emulated };
  return {
    driver: virtioName('virtio-scsi-pci', model),
    iothread: driver?.iothread === undefined ? undefined : `iothread${driver.iothread}`,
    num_queues: driver?.queues,
    cmd_per_lun: driver?.cmd_per_lun,
    max_sectors: driver?.max_sectors,
    ioeventfd: driver?.ioeventfd,
    ...virtioOptions(driver),
  };
}
