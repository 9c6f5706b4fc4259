import { createHash } from 'node:crypto';
import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import type { NetworkInterface } from '../vocabulary/interface.ts';
import type { Tpm } from '../vocabulary/tpm.ts';
import { assignSlots, assignUsbPorts, assignVirtioSerialPorts } from './bus-addresses.ts';
import { completeConsoles } from './consoles.ts';
import { completeControllers } from './controllers.ts';
import { completeDisk, inDiskOrder } from './disks.ts';
import { completeMedia } from './media.ts';

/** The devices that a libvirt machine has although nobody asked, and the parts of devices that nobody gave. */
export function addImpliedDevices(document: Domain['document']): Domain['document'] {
  const given = document.devices;
  const q35 = isQ35(document.os.type.machine ?? 'pc');
  const disk = inDiskOrder(given.disk.map(completeDisk));
  const itco = q35 && !given.watchdog.some((dog) => dog.model === 'itco');
  const withDevices = {
    ...given,
    disk,
    ...completeConsoles(given),
    ...completeMedia(given, document.features?.ps2?.state !== false),
    interface: given.interface.map((card, i) => ({
      ...withoutGeneratedTap(card),
      mac: card.mac ?? { address: madeUpMac(document.uuid, i) },
      model: card.model ?? { type: 'rtl8139' as const },
    })),
    // Every q35 machine has one in its chipset.
    watchdog: itco
      ? [...given.watchdog, { model: 'itco', action: given.watchdog[0]?.action ?? 'reset' } as const]
      : given.watchdog,
    ...(given.tpm === undefined ? {} : { tpm: completeTpm(given.tpm) }),
    memballoon: given.memballoon ?? { model: 'virtio' as const },
  };
  const withControllers = { ...withDevices, controller: completeControllers(withDevices, q35) };
  const devices = assignSlots(assignUsbPorts(assignVirtioSerialPorts(withControllers)));
  return { ...document, devices };
}

/** qemuDomainTPMDefPostParse: a TIS is a TPM 1.2 unless it is said. */
function completeTpm(tpm: Tpm): Tpm {
  const model = tpm.model ?? 'tpm-tis';
  if (tpm.backend.type === 'external') return { ...tpm, model };
  return {
    ...tpm,
    model,
    backend: { ...tpm.backend, version: tpm.backend.version ?? (model === 'tpm-crb' ? '2.0' : '1.2') },
  };
}

/** A name that libvirt made up is for it to make up anew (virDomainNetDefParseXML). */
function withoutGeneratedTap(card: NetworkInterface): NetworkInterface {
  if (card.type !== 'bridge' && card.type !== 'network' && card.type !== 'ethernet' && card.type !== 'direct')
    return card;
  const { target, ...rest } = card;
  const isGenerated =
    target?.managed !== false && target?.dev?.startsWith(card.type === 'direct' ? 'macvtap' : 'vnet') === true;
  return isGenerated ? rest : card;
}

/** QEMU's own prefix; the same document gets the same address each time. */
function madeUpMac(uuid: string, index: number): string {
  const digest = createHash('sha256').update(`${uuid} ${index}`).digest('hex');
  return `52:54:00:${digest.slice(0, 2)}:${digest.slice(2, 4)}:${digest.slice(4, 6)}`;
}
