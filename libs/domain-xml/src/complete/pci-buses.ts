import { originOf } from '../codec/place.ts';
import { DomainXmlError } from '../errors.ts';
import type { PciAddress } from '../vocabulary/address.ts';
import type { PciController } from '../vocabulary/controller.ts';

export type PciModel = PciController['model'];

/** What a device needs of the bus it is plugged into (virDomainPCIConnectFlags). */
export type Connection =
  | 'pci-device'
  | 'pcie-device'
  | 'pcie-integrated'
  | 'pci-integrated'
  | 'pci-bridge'
  | 'pcie-root-port'
  | 'pcie-to-pci-bridge'
  | 'dmi-to-pci-bridge'
  | 'pcie-switch-upstream-port'
  | 'pcie-switch-downstream-port'
  | 'pci-expander-bus'
  | 'pcie-expander-bus';

interface BusKind {
  readonly accepts: readonly Connection[];
  /** Whether a device without an address may be put here; the chipset's own bus of a q35 is kept for bridges. */
  readonly auto: boolean;
  readonly slots: readonly [min: number, max: number];
}

const conventional = ['pci-device', 'pci-bridge'] as const;
const port: BusKind = {
  accepts: ['pcie-device', 'pcie-switch-upstream-port', 'pcie-to-pci-bridge'],
  auto: true,
  slots: [0, 0],
};

/** virDomainPCIAddressBusSetModel: what each kind of bus offers. */
const kinds: Readonly<Record<PciModel, BusKind>> = {
  'pci-root': { accepts: [...conventional, 'pci-expander-bus', 'pci-integrated'], auto: true, slots: [1, 31] },
  'pci-bridge': { accepts: conventional, auto: true, slots: [1, 31] },
  'pci-expander-bus': { accepts: conventional, auto: true, slots: [0, 31] },
  'pcie-root': {
    accepts: [
      'pcie-device',
      'pcie-root-port',
      'dmi-to-pci-bridge',
      'pcie-expander-bus',
      'pcie-integrated',
      'pci-integrated',
    ],
    auto: false,
    slots: [1, 31],
  },
  'dmi-to-pci-bridge': { accepts: conventional, auto: false, slots: [0, 31] },
  'pcie-to-pci-bridge': { accepts: conventional, auto: true, slots: [1, 31] },
  'pcie-root-port': port,
  'pcie-switch-downstream-port': port,
  'pcie-switch-upstream-port': { accepts: ['pcie-switch-downstream-port'], auto: false, slots: [0, 31] },
  'pcie-expander-bus': { accepts: ['pcie-root-port', 'dmi-to-pci-bridge'], auto: false, slots: [0, 31] },
};

interface Bus {
  readonly model: PciModel;
  readonly kind: BusKind;
  /** Functions taken in each slot, and by which address. */
  readonly taken: Map<number, Map<number, Place>>;
  /** Slots whose functions root ports share. */
  readonly shared: Set<number>;
}

/** Where something is plugged in: always on domain 0. */
export type Place = Pick<PciAddress, 'bus' | 'slot' | 'function'>;

/** The PCI buses of a machine and what is taken on them (virDomainPCIAddressSet). */
export class PciBuses {
  readonly #buses: Bus[] = [];
  /** Whether buses may be added: in the first of the two passes. */
  readonly mayGrow: boolean;

  constructor(models: readonly PciModel[], mayGrow: boolean) {
    this.mayGrow = mayGrow;
    for (const model of models) this.#add(model);
  }

  /** The kind of each bus, added ones included. */
  get models(): readonly PciModel[] {
    return this.#buses.map((bus) => bus.model);
  }

  isSlotTaken({ bus, slot }: Pick<Place, 'bus' | 'slot'>): boolean {
    return (this.#buses[bus]?.taken.get(slot)?.size ?? 0) > 0;
  }

  /** Whether nothing more fits on any bus. */
  get isFull(): boolean {
    return this.#buses.every((bus, index) => {
      const [min, max] = bus.kind.slots;
      for (let slot = min; slot <= max; slot += 1) if (!this.isSlotTaken({ bus: index, slot })) return false;
      return true;
    });
  }

  /** Takes an address that the document gives; conventional and Express devices may stand in each other's slots there. */
  reserve(place: Place, connection: Connection, chipset = false): void {
    while (this.mayGrow && place.bus >= this.#buses.length && this.#buses.length < 256) this.#grow(connection, place);
    const bus = this.#buses[place.bus];
    if (bus === undefined)
      throw this.#wrong(place, `there is no PCI bus ${place.bus}`, 'Add its controller, or leave the address out');
    const endpoint = (kind: Connection) =>
      kind === 'pci-device' || kind === 'pcie-device' || kind.endsWith('-integrated');
    const fits =
      bus.kind.accepts.includes(connection) ||
      (endpoint(connection) && bus.kind.accepts.some(endpoint)) ||
      (connection === 'pci-bridge' && bus.kind.accepts.some(endpoint));
    if (!fits) throw this.#wrong(place, `a ${bus.model} takes no ${connection}`, 'Leave the address out');
    const [min, max] = bus.kind.slots;
    if (!chipset && (place.slot < min || place.slot > max)) {
      throw this.#wrong(place, `a ${bus.model} has slots ${min} to ${max}`, 'Leave the address out');
    }
    const functions = bus.taken.get(place.slot) ?? new Map<number, Place>();
    const other = functions.get(place.function);
    // What the chipset has there is in no document.
    if (other !== undefined)
      throw this.#wrong(chipset ? other : place, 'this PCI address is used twice', 'Give each device its own');
    if (functions.size === 0 && connection === 'pcie-root-port') bus.shared.add(place.slot);
    bus.taken.set(place.slot, functions.set(place.function, place));
  }

  /** Takes the next free place for a device that has none (virDomainPCIAddressReserveNextAddr). */
  next(connection: Connection, device?: object, fn?: number): Place {
    const place = this.#find(connection, device, fn ?? 0, fn === undefined);
    const bus = this.#buses[place.bus];
    const functions = bus?.taken.get(place.slot) ?? new Map<number, Place>();
    if (functions.size === 0 && connection === 'pcie-root-port') bus?.shared.add(place.slot);
    bus?.taken.set(place.slot, functions.set(place.function, place));
    return place;
  }

  #find(connection: Connection, device: object | undefined, fn: number, anyFunction: boolean): Place {
    for (const [index, bus] of this.#buses.entries()) {
      const endpoint = connection === 'pci-device' || connection === 'pcie-device';
      if (!bus.kind.accepts.includes(connection) || (endpoint && !bus.kind.auto)) continue;
      if (this.#reservedForBridge.has(index) && connection !== 'pcie-to-pci-bridge') continue;
      const [min, max] = bus.kind.slots;
      for (let slot = min; slot <= max; slot += 1) {
        const functions = bus.taken.get(slot);
        if (functions === undefined || functions.size === 0) return { bus: index, slot, function: fn };
        if (connection !== 'pcie-root-port' || !bus.shared.has(slot) || !anyFunction) continue;
        for (let one = 0; one < 8; one += 1) if (!functions.has(one)) return { bus: index, slot, function: one };
      }
    }
    if (!this.mayGrow || this.#buses.length >= 256) {
      throw invalid(device, `there is no free PCI slot for a ${connection}`, 'Remove devices');
    }
    this.#grow(connection, device);
    return this.#find(connection, device, fn, anyFunction);
  }

  /** Ports that were added for a bridge to conventional PCI: nothing else is put there in the same pass. */
  readonly #reservedForBridge = new Set<number>();

  /** Adds the bus that a device needs (virDomainPCIAddressSetGrow). */
  #grow(connection: Connection, of?: object): void {
    if (connection === 'pci-device') {
      const hasConventional = this.#buses.some((bus) => bus.kind.accepts.includes('pci-bridge'));
      if (hasConventional) return this.#add('pci-bridge');
      this.#reservedForBridge.add(this.#buses.length);
      this.#add('pcie-root-port');
      return this.#add('pcie-to-pci-bridge');
    }
    if (
      connection === 'pcie-device' ||
      connection === 'pcie-switch-upstream-port' ||
      connection === 'pcie-to-pci-bridge'
    ) {
      return this.#add('pcie-root-port');
    }
    throw invalid(of, `there is no free place for a ${connection}`, 'Add the controller that it needs');
  }

  #add(model: PciModel): void {
    this.#buses.push({ model, kind: kinds[model], taken: new Map(), shared: new Set() });
  }

  #wrong(place: Place, what: string, hint: string): DomainXmlError {
    const { bus, slot, function: fn } = place;
    const address = `${bus.toString(16).padStart(2, '0')}:${slot.toString(16).padStart(2, '0')}.${fn}`;
    return invalid(place, `PCI address ${address}: ${what}`, hint);
  }
}

/** A document that cannot be completed: because of an element that was read, or of all devices together. */
export function invalid(of: object | undefined, what: string, hint: string): DomainXmlError {
  const { path, line } = originOf(of) ?? { path: '/domain/devices', line: 0 };
  return new DomainXmlError('xml-invalid', [{ path, line, what, hint }]);
}
