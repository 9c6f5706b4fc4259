import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Controller } from '../vocabulary/controller.ts';
import type { PciAddress } from '../vocabulary/address.ts';

export type Json = string | number | bigint | boolean | readonly Json[] | { readonly [key: string]: Json | undefined };
export type JsonObject = { readonly [key: string]: Json | undefined };

/** One option in JSON, without what is undefined. 64-bit numbers stay whole: no text can hold the NUL that marks them. */
export const json = (value: JsonObject): string =>
  JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? `\0${one}\0` : one)).replaceAll(
    /"\\u0000(\d+)\\u0000"/g,
    '$1',
  );

/** A value inside one of QEMU's comma-separated options, where a comma is doubled (get_opt_value). */
export const optionValue = (value: string): string => value.replaceAll(',', ',,');

/** `-device` and its JSON. */
export const device = (value: JsonObject): string[] => ['-device', json(value)];

/** What completing a domain has put there; it is a mistake of ours if it is missing. */
export function required<T>(value: T | undefined, what: string): T {
  assert(value !== undefined, `the domain is not completed: ${what} is missing`);
  return value;
}

/** QEMU finds a bus by at most 127 characters, of which some are its own: `ID.0` (qbus_find). */
const idMax = 120;

/** The name of a device: its alias, or a digest of one that is longer than QEMU can find. */
export const idOf = (one: { readonly alias?: { readonly name: string } }): string =>
  shortened(required(one.alias, 'alias').name, idMax);

/** A name of ours for a name of theirs: that itself, or, where it is longer than there is room for, a digest of so many characters. */
export function shortened(name: string, max: number): string {
  if (name.length <= max) return name;
  return `n${createHash('sha256')
    .update(name)
    .digest('hex')
    .slice(0, max - 1)}`;
}

/** `on` and `off` where QEMU wants words. */
export const onOff = (value: boolean | undefined): string | undefined =>
  value === undefined ? undefined : value ? 'on' : 'off';

interface OnPci {
  readonly address?: { readonly type: string };
  readonly acpi?: { readonly index: number };
}

/** Where a PCI device goes. */
export function pciPlace(
  { address, acpi }: OnPci,
  controllers: readonly Controller[],
): { bus: string; addr: string; multifunction?: boolean; 'acpi-index'?: number } {
  const place = required(address, 'PCI address');
  assert(isPci(place), `a PCI device has a ${place.type} address`);
  const on = controllers.find((c) => c.type === 'pci' && c.index === place.bus);
  const bus = required(on, `PCI bus ${place.bus}`);
  // QEMU's own names of the buses that a machine has by itself, whatever a document calls them.
  const root =
    bus.type === 'pci' && (bus.model === 'pci-root' ? 'pci.0' : bus.model === 'pcie-root' ? 'pcie.0' : undefined);
  const slot = `0x${place.slot.toString(16)}`;
  return {
    bus: root || idOf(bus),
    addr: place.function === 0 ? slot : `${slot}.0x${place.function.toString(16)}`,
    ...(place.multifunction === undefined ? {} : { multifunction: place.multifunction }),
    ...(acpi === undefined ? {} : { 'acpi-index': acpi.index }),
  };
}

const isPci = (address: { readonly type: string }): address is PciAddress => address.type === 'pci';

/** Where a USB device goes. */
export function usbPlace(
  { address }: { readonly address?: { readonly type: string } },
  controllers: readonly Controller[],
): JsonObject {
  const place = required(address, 'USB address');
  assert(place.type === 'usb', `a USB device has a ${place.type} address`);
  const { bus, port } = place as { readonly bus?: number; readonly port?: string };
  const on = controllers.find((c) => c.type === 'usb' && c.index === bus && c.master === undefined);
  return { bus: `${idOf(required(on, `USB bus ${bus}`))}.0`, port };
}

interface VirtioOptions {
  readonly iommu?: boolean;
  readonly ats?: boolean;
  readonly packed?: boolean;
  readonly page_per_vq?: boolean;
}

/** The driver options that every virtio device has. */
export function virtioOptions(driver: VirtioOptions | undefined): JsonObject {
  return {
    iommu_platform: driver?.iommu,
    ats: driver?.ats,
    packed: driver?.packed,
    'page-per-vq': driver?.page_per_vq,
  };
}

/** QEMU's name for a virtio device in the way it presents itself. */
export function virtioName(base: string, model: string | undefined): string {
  if (model === 'virtio-transitional') return `${base}-transitional`;
  return model === 'virtio-non-transitional' ? `${base}-non-transitional` : base;
}
