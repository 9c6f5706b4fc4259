import type { Of } from '../codec/element.ts';
import { element, textOrAbsent } from '../codec/element-codec.ts';
import { children, hostSide, optionalChild } from '../codec/fields.ts';
import { anyPath } from '../codec/scalar.ts';
import { channel, console, parallel, redirdev, redirfilter, serial, smartcard } from './chardev.ts';
import { controller } from './controller.ts';
import { disk } from './disk.ts';
import { networkInterface } from './interface.ts';
import { audio } from './audio.ts';
import { graphics, input, sound, video } from './media.ts';
import {
  crypto,
  filesystem,
  hub,
  iommu,
  memballoon,
  memoryModule,
  panic,
  rng,
  shmem,
  vsock,
  watchdog,
} from './small-devices.ts';
import { tpm } from './tpm.ts';

/** All devices, in the order in which libvirt writes them (virDomainDefFormatInternalSetRootName). */
export const devices = element(
  {
    /** Kept, but never started: the agent's configuration names the QEMU. */
    emulator: hostSide(optionalChild(textOrAbsent(anyPath))),
    disk: children(disk),
    controller: children(controller),
    filesystem: children(filesystem),
    interface: children(networkInterface),
    smartcard: children(smartcard),
    serial: children(serial),
    parallel: children(parallel),
    console: children(console),
    channel: children(channel),
    input: children(input),
    tpm: optionalChild(tpm),
    graphics: hostSide(children(graphics)),
    sound: children(sound),
    audio: hostSide(children(audio)),
    video: children(video),
    redirdev: children(redirdev),
    redirfilter: optionalChild(redirfilter),
    hub: children(hub),
    watchdog: children(watchdog),
    memballoon: optionalChild(memballoon),
    rng: children(rng),
    shmem: children(shmem),
    panic: children(panic),
    memory: children(memoryModule),
    iommu: optionalChild(iommu),
    vsock: optionalChild(vsock),
    crypto: children(crypto),
  },
  {
    refused: {
      hostdev: 'A device of the host cannot be moved',
      lease: 'Ferry has no lock manager',
      nvram: 'It belongs to POWER machines',
      pstore: 'What the guest stored would stay behind',
    },
  },
);

export type Devices = Of<typeof devices>;

/** What a document without `<devices>` asks for. */
export const noDevices: Devices = {
  disk: [],
  controller: [],
  filesystem: [],
  interface: [],
  smartcard: [],
  serial: [],
  parallel: [],
  console: [],
  channel: [],
  input: [],
  graphics: [],
  sound: [],
  audio: [],
  video: [],
  redirdev: [],
  hub: [],
  watchdog: [],
  rng: [],
  shmem: [],
  panic: [],
  memory: [],
  crypto: [],
};
