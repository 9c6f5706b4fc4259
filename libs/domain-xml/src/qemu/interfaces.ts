import type { Domain } from '../domain.ts';
import type { NetworkInterface } from '../vocabulary/interface.ts';
import { tapName } from '../taps.ts';
import { bootIndex } from './boot-order.ts';
import {
  device,
  idOf,
  json,
  type JsonObject,
  optionValue,
  pciPlace,
  required,
  virtioName,
  virtioOptions,
} from './json.ts';

/** A network card and what it is plugged into on the host. */
export function interfaceArguments(card: NetworkInterface, domain: Domain, directory: string): string[] {
  const id = idOf(card);
  const queues = card.driver?.queues;
  const { options, netdev } = backend(card, `host${id}`, queues, directory);
  const model = required(card.model, 'interface model').type;
  const isVirtio = model.startsWith('virtio');
  return [
    ...options,
    ...(netdev === undefined ? [] : ['-netdev', json(netdev)]),
    ...device({
      driver: isVirtio ? virtioName('virtio-net-pci', model) : model,
      ...(isVirtio ? virtioCard(card) : {}),
      netdev: netdev === undefined ? undefined : `host${id}`,
      id,
      mac: required(card.mac, 'MAC address').address,
      bootindex: bootIndex(card, domain),
      ...romOf(card),
      ...pciPlace(card, domain.devices.controller),
    }),
  ];
}

/** qemuBuildRomProps: no firmware is an empty file. */
function romOf({ rom }: NetworkInterface): JsonObject {
  if (rom?.enabled === false) return { romfile: '' };
  return { rombar: rom?.bar === undefined ? undefined : Number(rom.bar), romfile: rom?.file };
}

function virtioCard({ driver, mtu }: NetworkInterface): JsonObject {
  const queues = driver?.queues ?? 1;
  return {
    ...virtioOptions(driver),
    tx: driver?.txmode === 'timer' ? 'timer' : driver?.txmode === 'iothread' ? 'bh' : undefined,
    ioeventfd: driver?.ioeventfd,
    event_idx: driver?.event_idx,
    mq: queues > 1 ? true : undefined,
    // Two for each queue, one for control, one for configuration.
    vectors: queues > 1 ? 2 * queues + 2 : undefined,
    rss: driver?.rss,
    hash: driver?.rss_hash_report,
    rx_queue_size: driver?.rx_queue_size,
    tx_queue_size: driver?.tx_queue_size,
    host_mtu: mtu?.size,
    csum: driver?.host?.csum,
    gso: driver?.host?.gso,
    host_tso4: driver?.host?.tso4,
    host_tso6: driver?.host?.tso6,
    host_ecn: driver?.host?.ecn,
    host_ufo: driver?.host?.ufo,
    mrg_rxbuf: driver?.host?.mrg_rxbuf,
    guest_csum: driver?.guest?.csum,
    guest_tso4: driver?.guest?.tso4,
    guest_tso6: driver?.guest?.tso6,
    guest_ecn: driver?.guest?.ecn,
    guest_ufo: driver?.guest?.ufo,
  };
}

function backend(
  card: NetworkInterface,
  id: string,
  queues: number | undefined,
  directory: string,
): { options: string[]; netdev?: JsonObject } {
  switch (card.type) {
    case 'user':
      return { options: [], netdev: { type: 'user', id, ...userNetwork(card.ip) } };
    case 'null':
      return { options: [] };
    case 'server':
      return { options: [], netdev: { type: 'socket', id, listen: endOf(card.source) } };
    case 'client':
      return { options: [], netdev: { type: 'socket', id, connect: endOf(card.source) } };
    case 'mcast':
      return { options: [], netdev: { type: 'socket', id, mcast: endOf(card.source) } };
    case 'udp': {
      const { local } = card.source;
      return { options: [], netdev: { type: 'socket', id, udp: endOf(card.source), localaddr: endOf(local) } };
    }
    case 'direct':
    case 'ethernet':
    case 'network':
    case 'bridge': {
      const vhost = card.driver?.name === 'vhost' ? true : undefined;
      const ifname = tapName(card, directory);
      const sndbuf = card.tune?.sndbuf;
      const netdev = { type: 'tap', id, ifname, script: 'no', downscript: 'no', sndbuf, queues, vhost };
      return { options: [], netdev };
    }
    case 'vhostuser': {
      const again = card.source.reconnect;
      const server =
        card.source.mode === 'server'
          ? ',server=on,wait=off'
          : again?.enabled === true
            ? `,reconnect=${again.timeout ?? 10}`
            : '';
      return {
        options: ['-chardev', `socket,id=char${id},path=${optionValue(card.source.path)}${server}`],
        netdev: { type: 'vhost-user', id, chardev: `char${id}`, queues },
      };
    }
    default:
      return card satisfies never;
  }
}

const endOf = ({ address, port }: { readonly address?: string; readonly port: number }): string =>
  `${address ?? ''}:${port}`;

function userNetwork(networks: Extract<NetworkInterface, { type: 'user' }>['ip']): JsonObject {
  const v4 = networks.find((one) => one.family === 'ipv4');
  const v6 = networks.find((one) => one.family === 'ipv6');
  return {
    net: v4 && (v4.prefix === undefined ? v4.address : `${v4.address}/${v4.prefix}`),
    'ipv6-prefix': v6?.address,
    'ipv6-prefixlen': v6?.prefix,
  };
}
