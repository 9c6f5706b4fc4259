import type { Domain } from '../domain.ts';
import type { NetworkInterface } from '../vocabulary/interface.ts';
import { bootIndex } from './boot-order.ts';
import { json, pciPlace, required } from './json.ts';

/** A network card and what it is plugged into on the host. */
export function interfaceArguments(card: NetworkInterface, domain: Domain): string[] {
  const id = required(card.alias, 'interface alias').name;
  const bootindex = bootIndex(card, domain);
  const netdev =
    card.type === 'user'
      ? { type: 'user', id: `host${id}` }
      : { type: 'tap', ifname: card.target.dev, script: 'no', downscript: 'no', id: `host${id}` };
  const device = {
    driver: 'virtio-net-pci',
    netdev: `host${id}`,
    id,
    mac: required(card.mac, 'MAC address').address,
    ...(bootindex === undefined ? {} : { bootindex }),
    ...pciPlace(card.address, domain.devices.controller),
  };
  return ['-netdev', json(netdev), '-device', json(device)];
}
