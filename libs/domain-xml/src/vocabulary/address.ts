import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attributeOr, optionalAttribute } from '../codec/fields.ts';
import { bool, hex, integer } from '../codec/scalar.ts';

const pci = element(
  {
    domain: attributeOr(hex(0, 4), 0),
    bus: attributeOr(hex(255, 2), 0),
    slot: attributeOr(hex(31, 2), 0),
    function: attributeOr(hex(7, 1), 0),
    multifunction: optionalAttribute(bool('on', 'off')),
  },
  { refused: { '@domain': 'x86 machines have PCI domain 0 only' } },
);

const drive = element({
  controller: attributeOr(integer(0, 255), 0),
  bus: attributeOr(integer(0, 255), 0),
  target: attributeOr(integer(0, 255), 0),
  unit: attributeOr(integer(0, 16383), 0),
});

/** Where a device is, for each kind of bus. */
export const pciAddress = choice('type', { pci });
export const driveAddress = choice('type', { drive });
export const diskAddress = choice('type', { pci, drive });

export type PciAddress = Of<typeof pciAddress>;
export type DriveAddress = Of<typeof driveAddress>;
