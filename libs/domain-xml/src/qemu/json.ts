import assert from 'node:assert/strict';
import type { PciAddress } from '../vocabulary/address.ts';
import type { Controller } from '../vocabulary/controller.ts';

export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json | undefined };

/** One option in JSON, without what is undefined. */
export const json = (value: { readonly [key: string]: Json | undefined }): string => JSON.stringify(value);

/** What completing a domain has put there; it is a mistake of ours if it is missing. */
export function required<T>(value: T | undefined, what: string): T {
  assert(value !== undefined, `the domain is not completed: ${what} is missing`);
  return value;
}

/** Where a PCI device goes. */
export function pciPlace(
  address: { readonly type: string } | undefined,
  controllers: readonly Controller[],
): { bus: string; addr: string; multifunction?: boolean } {
  const place = required(address, 'PCI address');
  assert(isPci(place), `a PCI device has a ${place.type} address`);
  const on = controllers.find((c) => c.type === 'pci' && c.index === place.bus);
  const bus = required(on?.alias, `PCI bus ${place.bus}`).name;
  const slot = `0x${place.slot.toString(16)}`;
  return {
    bus,
    addr: place.function === 0 ? slot : `${slot}.0x${place.function.toString(16)}`,
    ...(place.multifunction === undefined ? {} : { multifunction: place.multifunction }),
  };
}

const isPci = (address: { readonly type: string }): address is PciAddress => address.type === 'pci';
