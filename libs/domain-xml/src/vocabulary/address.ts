import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, attributeOr, optionalAttribute } from '../codec/fields.ts';
import { bool, hex, integer, pattern } from '../codec/scalar.ts';

const givenPci = element({
  domain: attributeOr(hex(0, 4), 0),
  bus: attributeOr(hex(255, 2), 0),
  slot: attributeOr(hex(31, 2), 0),
  function: attributeOr(hex(7, 1), 0),
  multifunction: optionalAttribute(bool('on', 'off')),
});

/** One that is all zeroes says only that it is on PCI, and where is left open (virDeviceInfoPCIAddressIsWanted). */
const pci: typeof givenPci = {
  ...givenPci,
  decode: (node, path, findings) => {
    const address = givenPci.decode(node, path, findings);
    const isOpen = address?.multifunction === undefined && !address?.bus && !address?.slot && !address?.function;
    return isOpen ? undefined : address;
  },
};

const drive = element({
  controller: attributeOr(integer(0, 255), 0),
  bus: attributeOr(integer(0, 255), 0),
  target: attributeOr(integer(0, 255), 0),
  unit: attributeOr(integer(0, 16383), 0),
});

/** A controller has one bus; which one is given without a port is of no account (virDomainVirtioSerialAddrAutoAssign). */
const virtioSerial = element(
  {
    controller: attributeOr(integer(0, 255), 0),
    bus: attributeOr(integer(0, 255), 0),
    port: optionalAttribute(integer(0, 255)),
  },
  {
    check: ({ bus, port }, report) => {
      if (bus > 0 && port !== undefined) report('xml-invalid', '/@bus', `there is no bus ${bus}`, 'Give 0');
    },
  },
);

const usb = element({
  bus: attributeOr(integer(0, 255), 0),
  port: optionalAttribute(pattern(/^[1-9]\d{0,2}(\.[1-9]\d{0,2}){0,3}$/, 'a USB port like 1 or 1.2', ['1', '2'])),
});

const ccid = element({ controller: attributeOr(integer(0, 255), 0), slot: attributeOr(integer(0, 255), 0) });

const isa = element({ iobase: optionalAttribute(hex(0xffff, 1)), irq: optionalAttribute(hex(15, 1)) });

const dimm = element({
  slot: attribute(integer(0, 255)),
  base: optionalAttribute(hex(2 ** 48, 1)),
});

const refused = {
  unassigned: 'A device that the guest does not see cannot be moved: remove it',
  ccw: 'It belongs to s390 machines',
  'spapr-vio': 'It belongs to POWER machines',
  'virtio-mmio': 'It belongs to ARM machines',
};

/** Where a device is, for each kind of bus. */
export const pciAddress = choice('type', { pci }, { refused });
export const diskAddress = choice('type', { pci, drive, usb }, { refused });
export const virtioSerialAddress = choice('type', { 'virtio-serial': virtioSerial }, { refused });
export const usbAddress = choice('type', { usb }, { refused });
export const ccidAddress = choice('type', { ccid }, { refused });
export const isaAddress = choice('type', { isa }, { refused });
export const inputAddress = choice('type', { pci, usb }, { refused });
export const serialAddress = choice('type', { pci, usb, isa }, { refused });
/** A console that is another name for a serial port has the port's address. */
export const consoleAddress = choice('type', { 'virtio-serial': virtioSerial, pci, usb, isa }, { refused });
export const dimmAddress = choice('type', { dimm }, { refused });
export const panicAddress = choice('type', { isa, pci }, { refused });

/** A device's address if it is a port of a virtio-serial controller. */
export const virtioSerialOf = ({ address }: { readonly address?: Of<typeof consoleAddress> }) =>
  address?.type === 'virtio-serial' ? address : undefined;

export type PciAddress = Of<typeof pciAddress>;
export type DriveAddress = Extract<Of<typeof diskAddress>, { readonly type: 'drive' }>;
export type UsbAddress = Of<typeof usbAddress>;
