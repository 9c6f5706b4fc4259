import type { PciAddress } from '../vocabulary/address.ts';
import type { Controller, PciController } from '../vocabulary/controller.ts';

/** The PCI buses of a machine and what is taken on them. */
export class PciBuses {
  readonly #q35: boolean;
  readonly #controllers: PciController[];
  readonly #taken = new Set<string>();
  /** Whether ports were added. */
  grew = false;

  constructor(controllers: readonly Controller[], q35: boolean) {
    this.#q35 = q35;
    this.#controllers = controllers.filter((c) => c.type === 'pci').toSorted((a, b) => (a.index ?? 0) - (b.index ?? 0));
    // What the chipset itself occupies: qemuDomainValidateDevicePCISlotsPIIX3 and …Q35.
    const chipset = q35 ? ['1f.0', '1f.2', '1f.3'] : ['1.0', '1.1', '1.2', '1.3'];
    for (const place of ['0.0', ...chipset]) this.#taken.add(`0:${place}`);
  }

  reserve({ bus, slot, function: fn }: PciAddress): void {
    this.#taken.add(key(bus, slot, fn));
  }

  /** The next free place for a device that can be plugged: a slot of a pc, a port of a q35. */
  next(): PciAddress {
    if (!this.#q35) return this.#take(0, this.#freeSlot(0), 0);
    const free = this.#ports().find((port) => !this.#isSlotTaken(port.index ?? 0, 0));
    return this.#take((free ?? this.#addPort()).index ?? 0, 0, 0);
  }

  /** Adds a port unless one is free. */
  keepOneFree(): void {
    if (!this.#ports().some((port) => !this.#isSlotTaken(port.index ?? 0, 0))) this.#addPort();
  }

  /** All PCI controllers, with the addresses of the ports themselves. */
  controllers(): readonly PciController[] {
    const placed = this.#controllers.map((c) => {
      if (c.model !== 'pcie-root-port') return c;
      const address = c.address ?? this.#nextPortAddress();
      const port = c.target?.port ?? address.slot * 8 + address.function;
      const chassis = c.target?.chassis ?? c.index ?? 0;
      return {
        ...c,
        modelName: c.modelName ?? { name: 'pcie-root-port' as const },
        target: { chassis, port },
        address,
      };
    });
    // A slot with several functions must say so on its function 0.
    return placed.map((c) =>
      c.address !== undefined &&
      c.address.function === 0 &&
      c.address.multifunction === undefined &&
      placed.some((other) => other !== c && isSameSlot(other.address, c.address))
        ? { ...c, address: { ...c.address, multifunction: true } }
        : c,
    );
  }

  #ports(): PciController[] {
    return this.#controllers.filter((c) => c.model === 'pcie-root-port');
  }

  #addPort(): PciController {
    const index = Math.max(...this.#controllers.map((c) => c.index ?? 0)) + 1;
    const port: PciController = { type: 'pci', index, model: 'pcie-root-port' };
    this.#controllers.push(port);
    this.grew = true;
    return port;
  }

  /** Ports share slots of the root bus, eight to a slot. */
  #nextPortAddress(): PciAddress {
    for (let slot = 1; slot < 0x1f; slot += 1) {
      const used = [...this.#portSlots];
      const shared = used.includes(slot);
      if (!shared && this.#isSlotTaken(0, slot)) continue;
      for (let fn = 0; fn < 8; fn += 1) {
        if (this.#taken.has(key(0, slot, fn))) continue;
        this.#portSlots.add(slot);
        return this.#take(0, slot, fn);
      }
    }
    throw new RangeError('the root bus is full');
  }
  readonly #portSlots = new Set<number>();

  #freeSlot(bus: number): number {
    for (let slot = 1; slot < 32; slot += 1) if (!this.#isSlotTaken(bus, slot)) return slot;
    throw new RangeError(`PCI bus ${bus} is full`);
  }

  #isSlotTaken(bus: number, slot: number): boolean {
    for (let fn = 0; fn < 8; fn += 1) if (this.#taken.has(key(bus, slot, fn))) return true;
    return false;
  }

  #take(bus: number, slot: number, fn: number): PciAddress {
    this.#taken.add(key(bus, slot, fn));
    return { type: 'pci', domain: 0, bus, slot, function: fn };
  }
}

const key = (bus: number, slot: number, fn: number): string => `${bus}:${slot.toString(16)}.${fn}`;

const isSameSlot = (a: PciAddress | undefined, b: PciAddress | undefined): boolean =>
  a !== undefined && b !== undefined && a.bus === b.bus && a.slot === b.slot;
