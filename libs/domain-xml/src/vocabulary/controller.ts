import type { Of } from '../codec/element.ts';
import { choice, element, textElement } from '../codec/element-codec.ts';
import { attribute, named, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { hex, integer, oneOf } from '../codec/scalar.ts';
import { pciAddress, usbAddress } from './address.ts';
import { acpiIndex, alias, onOff, virtioModels, virtioOptions } from './common.ts';
import { memoryKib } from './memory.ts';

const common = {
  index: optionalAttribute(integer(0, 255)),
  acpi: acpiIndex,
  alias,
  address: optionalChild(pciAddress),
};

const pciModels = oneOf(
  'pci-root',
  'pcie-root',
  'pci-bridge',
  'pcie-root-port',
  'pcie-to-pci-bridge',
  'dmi-to-pci-bridge',
  'pcie-switch-upstream-port',
  'pcie-switch-downstream-port',
  'pci-expander-bus',
  'pcie-expander-bus',
);
const pciModelNames = oneOf(
  'pci-bridge',
  'pcie-root-port',
  'ioh3420',
  'pcie-pci-bridge',
  'i82801b11-bridge',
  'x3130-upstream',
  'xio3130-downstream',
  'pxb',
  'pxb-pcie',
);
const usbModels = oneOf(
  'piix3-uhci',
  'piix4-uhci',
  'ehci',
  'ich9-ehci1',
  'ich9-uhci1',
  'ich9-uhci2',
  'ich9-uhci3',
  'vt82c686b-uhci',
  'pci-ohci',
  'nec-xhci',
  'qemu-xhci',
  'none',
);
const scsiModels = oneOf(
  'auto',
  ...virtioModels.slice(1).map((model) => model as 'virtio-transitional' | 'virtio-non-transitional'),
  'virtio-scsi',
  'lsilogic',
  'lsisas1068',
  'lsisas1078',
  'vmpvscsi',
  'am53c974',
  'dc390',
);

const scsiDriver = element({
  queues: optionalAttribute(integer(1, 1024)),
  cmd_per_lun: optionalAttribute(integer(1, 65535)),
  max_sectors: optionalAttribute(integer(1, 65535)),
  ioeventfd: optionalAttribute(onOff),
  iothread: optionalAttribute(integer(1, 1024)),
  ...virtioOptions,
});

/** What other devices hang on. */
export const controller = choice('type', {
  pci: element({
    index: common.index,
    model: attribute(pciModels),
    modelName: named('model', optionalChild(element({ name: attribute(pciModelNames) }))),
    target: optionalChild(
      element({
        chassisNr: optionalAttribute(integer(1, 255)),
        chassis: optionalAttribute(integer(0, 255)),
        port: optionalAttribute(hex(255, 1)),
        busNr: optionalAttribute(integer(1, 254)),
        hotplug: optionalAttribute(onOff),
        node: optionalChild(textElement(integer(0, 127))),
      }),
    ),
    pcihole64: optionalChild(memoryKib),
    acpi: common.acpi,
    alias: common.alias,
    address: common.address,
  }),
  sata: element({ ...common, model: optionalAttribute(oneOf('ahci')) }),
  ide: element({ ...common, model: optionalAttribute(oneOf('piix3', 'piix4', 'ich6')) }),
  fdc: element(common),
  usb: element({
    ...common,
    model: optionalAttribute(usbModels),
    ports: optionalAttribute(integer(1, 15)),
    master: optionalChild(element({ startport: attribute(integer(0, 15)) })),
  }),
  scsi: element({ ...common, model: optionalAttribute(scsiModels), driver: optionalChild(scsiDriver) }),
  'virtio-serial': element({
    ...common,
    model: optionalAttribute(oneOf(...virtioModels)),
    ports: optionalAttribute(integer(1, 511)),
    vectors: optionalAttribute(integer(0, 2048)),
    driver: optionalChild(element(virtioOptions)),
  }),
  ccid: element({ index: common.index, alias: common.alias, address: optionalChild(usbAddress) }),
});

export type Controller = Of<typeof controller>;
export type PciController = Extract<Controller, { type: 'pci' }>;
export type UsbController = Extract<Controller, { type: 'usb' }>;
