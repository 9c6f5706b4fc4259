import type { Domain } from './domain.ts';
import { knownPassword } from './passwords.ts';
import { idOf } from './qemu/json.ts';

/** What QEMU takes only over its monitor. */
export type StartCommand =
  | { readonly execute: 'balloon'; readonly arguments: { readonly value: number } }
  | { readonly execute: 'set_link'; readonly arguments: { readonly name: string; readonly up: boolean } }
  | { readonly execute: 'set_password'; readonly arguments: DisplayPassword }
  | { readonly execute: 'expire_password'; readonly arguments: { readonly protocol: Protocol; readonly time: string } };

type Protocol = 'vnc' | 'spice';
interface DisplayPassword {
  readonly protocol: Protocol;
  readonly password: string;
  readonly connected?: 'keep' | 'disconnect' | 'fail';
}

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
    ...devices.graphics.flatMap(passwordCommands),
  ];
}

/** A password is no argument of a process, which every user of the host could read (qemuProcessInitPasswords). */
function passwordCommands(display: Domain['devices']['graphics'][number]): StartCommand[] {
  const { type: protocol, passwdValidTo, connected } = display;
  const password = knownPassword(display);
  // A display that listens nowhere is none to QEMU.
  if (password === undefined || (protocol === 'vnc' && display.listen[0]?.type === 'none')) return [];
  const time = passwdValidTo === undefined ? 'never' : String(Date.parse(`${passwdValidTo}Z`) / 1000);
  return [
    { execute: 'set_password', arguments: { protocol, password, ...(connected === undefined ? {} : { connected }) } },
    { execute: 'expire_password', arguments: { protocol, time } },
  ];
}
