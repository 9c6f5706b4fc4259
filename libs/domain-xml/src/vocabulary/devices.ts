import type { Of } from '../codec/element.ts';
import { element, textElement } from '../codec/element-codec.ts';
import { attribute, children, hostSide, optionalChild } from '../codec/fields.ts';
import { anyPath, oneOf } from '../codec/scalar.ts';
import { pciAddress } from './address.ts';
import { console, serial } from './chardev.ts';
import { alias } from './common.ts';
import { controller } from './controller.ts';
import { disk } from './disk.ts';
import { networkInterface } from './interface.ts';

/** All devices, in the order in which libvirt writes them. */
export const devices = element({
  /** Kept, but never started: the agent's configuration names the QEMU. */
  emulator: hostSide(optionalChild(textElement(anyPath))),
  disk: children(disk),
  controller: children(controller),
  interface: children(networkInterface),
  serial: children(serial),
  console: children(console),
  video: children(element({ model: optionalChild(element({ type: attribute(oneOf('none')) })) })),
  memballoon: optionalChild(
    element({
      model: attribute(oneOf('virtio', 'none')),
      alias: hostSide(optionalChild(alias)),
      address: optionalChild(pciAddress),
    }),
  ),
});

export type Devices = Of<typeof devices>;
