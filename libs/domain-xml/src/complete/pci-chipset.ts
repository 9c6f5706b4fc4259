import type { PciAddress } from '../vocabulary/address.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { invalid, type PciBuses, type Place } from './pci-buses.ts';

const at = ({ bus, slot, function: fn }: Place): PciAddress => ({ type: 'pci', domain: 0, bus, slot, function: fn });
const isAt = (address: PciAddress, place: Place): boolean =>
  address.bus === place.bus && address.slot === place.slot && address.function === place.function;

/**
 * Takes what the chipset itself occupies and places the devices that have their customary place there
 * (qemuDomainValidateDevicePCISlotsPIIX3 and …Q35).
 */
export function reserveChipset(devices: Devices, buses: PciBuses, q35: boolean): Devices {
  return q35 ? reserveIch9(devices, buses) : reservePiix3(devices, buses);
}

/** One that is in the chipset can be nowhere else. */
function fixed<C extends { readonly address?: PciAddress }>(controller: C, place: Place, words: string): C {
  if (controller.address === undefined) return { ...controller, address: at(place) };
  if (isAt(controller.address, place)) return controller;
  throw invalid(
    controller.address,
    `${words} is at PCI address 00:${place.slot.toString(16)}.${place.function}`,
    'Leave its address out',
  );
}

function reservePiix3(devices: Devices, buses: PciBuses): Devices {
  const ide = { bus: 0, slot: 1, function: 1 };
  const usb = { bus: 0, slot: 1, function: 2 };
  const controller = devices.controller.map((c) => {
    if (c.index !== 0) return c;
    if (c.type === 'ide') {
      buses.reserve(ide, 'pci-device', true);
      return fixed(c, ide, 'The first IDE controller');
    }
    if (c.type === 'usb' && (c.model === 'piix3-uhci' || c.model === undefined)) {
      buses.reserve(usb, 'pci-device', true);
      return fixed(c, usb, 'The first USB controller');
    }
    return c;
  });
  buses.reserve({ bus: 0, slot: 1, function: 0 }, 'pci-device', true);
  buses.reserve({ bus: 0, slot: 1, function: 3 }, 'pci-device', true);
  return { ...devices, controller, video: primaryVideo(devices, buses, 2) };
}

function reserveIch9(devices: Devices, buses: PciBuses): Devices {
  const sata = { bus: 0, slot: 0x1f, function: 2 };
  const tryPlace = (slots: readonly number[]): Place | undefined => {
    const slot = slots.find((one) => !buses.isSlotTaken({ bus: 0, slot: one }));
    if (slot === undefined) return undefined;
    const place = { bus: 0, slot, function: 0 };
    buses.reserve(place, 'pcie-device');
    return place;
  };
  const controller = devices.controller.map((c) => {
    if (c.type === 'sata' && c.index === 0) {
      const placed = fixed(c, sata, 'The first SATA controller');
      if (c.address === undefined) buses.reserve(sata, 'pcie-device', true);
      return placed;
    }
    if (c.type === 'usb' && c.model === 'ich9-uhci1' && c.address === undefined) {
      const place = tryPlace([0x1d, 0x1a]);
      return place === undefined ? c : { ...c, address: { ...at(place), multifunction: true } };
    }
    if (c.type === 'pci' && c.model === 'dmi-to-pci-bridge' && c.address === undefined) {
      const place = tryPlace([0x1e]);
      return place === undefined ? c : { ...c, address: at(place) };
    }
    return c;
  });
  buses.reserve({ bus: 0, slot: 0x1f, function: 0 }, 'pcie-device', true);
  buses.reserve({ bus: 0, slot: 0x1f, function: 3 }, 'pcie-device', true);
  const video = primaryVideo(devices, buses, 1);
  const place = { bus: 0, slot: 0x1b, function: 0 };
  const first = devices.sound.findIndex((card) => card.model === 'ich9' && card.address === undefined);
  if (first < 0 || buses.isSlotTaken(place)) return { ...devices, controller, video };
  buses.reserve(place, 'pcie-device');
  const sound = devices.sound.map((card, i) => (i === first ? { ...card, address: at(place) } : card));
  return { ...devices, controller, video, sound };
}

/** Where QEMU itself puts the first graphics card: the first slot after the chipset. */
function primaryVideo(devices: Devices, buses: PciBuses, slot: number): Devices['video'] {
  const place = { bus: 0, slot, function: 0 };
  return devices.video.map((video, i) => {
    const type = video.model?.type;
    if (i > 0 || type === undefined || type === 'none' || type === 'ramfb') return video;
    if (video.address !== undefined || buses.isSlotTaken(place)) return video;
    buses.reserve(place, 'pci-device');
    return { ...video, address: at(place) };
  });
}
