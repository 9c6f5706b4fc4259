import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { NetworkInterface } from '../vocabulary/interface.ts';

type Report = (below: string, what: string, hint: string) => void;

/** What cards and what they are plugged into can do (qemuValidateDomainDeviceDefNetwork). */
export function checkInterfaces({ interface: cards }: Devices, findings: Findings): void {
  cards.forEach((card, i) => {
    const path = pathOf('/domain/devices', 'interface', cards.length, i);
    const report: Report = (below, what, hint) => findings.report('xml-invalid', `${path}${below}`, what, hint);
    if (card.model?.type.startsWith('virtio') === true) checkQueues(card, report);
    else checkPlainCard(card, report);
    if ((card.type === 'client' || card.type === 'mcast') && card.source.address === undefined)
      report('/source', 'attribute address is missing', 'Say where to connect to');
    if (card.type === 'bridge' && card.virtualport?.type?.startsWith('802') === true)
      report('/virtualport/@type', 'a bridge has no such ports', "Use openvswitch, or type='direct'");
    if (card.type === 'vhostuser' && card.source.mode === 'server' && card.source.reconnect?.enabled === true)
      report('/source/reconnect', 'who is connected to cannot connect again', "Use mode='client'");
  });
}

const isTap = ({ type }: NetworkInterface): boolean =>
  type === 'bridge' || type === 'network' || type === 'ethernet' || type === 'direct';

function checkPlainCard(card: NetworkInterface, report: Report): void {
  const { driver, mtu } = card;
  for (const name of Object.keys(driver ?? {})) {
    const at = name === 'host' || name === 'guest' ? name : `@${name}`;
    report(`/driver/${at}`, `only a virtio card has ${name}`, "Use <model type='virtio'/>");
  }
  // A tap that is made has it, whatever the guest knows of it.
  const isMade = isTap(card) && (!('target' in card) || card.target?.managed !== false);
  if (mtu !== undefined && !isMade) report('/mtu', 'only a virtio card is told its MTU', "Use <model type='virtio'/>");
  if (card.type === 'vhostuser')
    report('/model/@type', 'the process behind the socket serves virtio cards', "Use <model type='virtio'/>");
}

function checkQueues(card: NetworkInterface, report: Report): void {
  const { driver, type } = card;
  for (const name of ['rx_queue_size', 'tx_queue_size'] as const) {
    const size = driver?.[name];
    if (size !== undefined && !Number.isInteger(Math.log2(size)))
      report(`/driver/@${name}`, `${size} is not a power of two`, 'Give 256, 512 or 1024');
  }
  if (isTap(card) || type === 'vhostuser') return;
  if ((driver?.queues ?? 1) > 1) report('/driver/@queues', `a network of type ${type} has one queue`, 'Remove it');
}
