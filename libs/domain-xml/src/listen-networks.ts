import { pathOf } from './codec/element-codec.ts';
import type { Domain } from './domain.ts';
import type { NetworkUse } from './taps.ts';

/** The networks on whose address displays listen. */
export function listenNetworksOf({ devices: { graphics } }: Pick<Domain, 'devices'>): NetworkUse[] {
  return graphics.flatMap(({ listen }, i) =>
    listen.flatMap((one, k) => {
      if (one.type !== 'network') return [];
      const display = pathOf('/domain/devices', 'graphics', graphics.length, i);
      return [{ network: one.network, path: pathOf(display, 'listen', listen.length, k) }];
    }),
  );
}

/** The domain with addresses in place of those networks; one that has none is left. */
export function withListenAddresses(domain: Domain, addressOf: (network: string) => string | undefined): Domain {
  if (listenNetworksOf(domain).length === 0) return domain;
  const graphics = domain.devices.graphics.map((display) => ({
    ...display,
    listen: display.listen.map((one) => {
      const address = one.type === 'network' ? addressOf(one.network) : undefined;
      return address === undefined ? one : ({ type: 'address', address } as const);
    }),
  }));
  const devices = { ...domain.devices, graphics };
  return { ...domain, devices, document: { ...domain.document, devices } };
}
