import type { Domain } from './domain.ts';
import { idOf } from './qemu/json.ts';

/** What QEMU takes only over its monitor. */
export type StartCommand =
  | { readonly execute: 'balloon'; readonly arguments: { readonly value: number } }
  | { readonly execute: 'set_link'; readonly arguments: { readonly name: string; readonly up: boolean } };

/**
 * What a completed domain's QEMU must be told before its CPUs first run. A guest that is still to come brings its balloon along
 * (hw/virtio/virtio-balloon.c), and, with some cards, whether a cable is plugged in (virtio_net_post_load_device, e1000_post_load,
 * rtl8139_post_load): with the others it is what is told here (qemuProcessSetLinkStates).
 */
export function startCommands({ devices, memoryBytes, currentMemoryBytes }: Domain, incoming: boolean): StartCommand[] {
  const hasBalloon = devices.memballoon !== undefined && devices.memballoon.model !== 'none';
  const unplugged = devices.interface.filter((card) => card.link?.state === 'down');
  return [
    ...(!incoming && hasBalloon && currentMemoryBytes < memoryBytes
      ? [{ execute: 'balloon', arguments: { value: currentMemoryBytes } } as const]
      : []),
    ...unplugged.map((card) => ({ execute: 'set_link', arguments: { name: idOf(card), up: false } }) as const),
  ];
}
