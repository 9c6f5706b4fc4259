import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { PciAddress } from '../vocabulary/address.ts';
import type { Devices } from '../vocabulary/devices.ts';

/** A slot whose first function says that it is alone takes no others; QEMU does not start with them. */
export function checkMultifunction(devices: Devices, findings: Findings): void {
  const placed = Object.entries(devices).flatMap(([key, part]) => {
    const list = (Array.isArray(part) ? part : [part]) as readonly ({ readonly address?: PciAddress } | undefined)[];
    return list.flatMap((one, i) => {
      if (typeof one !== 'object' || one.address?.type !== 'pci') return [];
      return [{ address: one.address, path: pathOf('/domain/devices', key, list.length, i) }];
    });
  });
  const slotOf = ({ bus, slot }: PciAddress): string => `${bus}.${slot}`;
  const shared = new Set(placed.filter((one) => one.address.function > 0).map((one) => slotOf(one.address)));
  for (const { address, path } of placed) {
    if (address.function !== 0 || address.multifunction !== false || !shared.has(slotOf(address))) continue;
    const what = 'the slot holds other functions too';
    findings.report('xml-unsupported', `${path}/address/@multifunction`, what, "Use multifunction='on'");
  }
}
