import { createHash } from 'node:crypto';
import type { Domain } from './domain.ts';
import { required } from './qemu/json.ts';
import type { NetworkInterface } from './vocabulary/interface.ts';

/** A network device that QEMU makes for a card, and that ends with it. */
export interface Tap {
  readonly name: string;
  /** High, so that the bridge does not take it for its own (virNetDevTapCreateInBridgePort). */
  readonly address: string;
  readonly bridge?: string;
  readonly mtu?: number;
}

type TapCard = Extract<NetworkInterface, { readonly type: 'bridge' | 'ethernet' }>;
const isTapCard = (card: NetworkInterface): card is TapCard => card.type === 'bridge' || card.type === 'ethernet';

/** The name of a card's tap. One that nobody named is called after the card and the directory of the domain, which is one host's. */
export function tapName({ target, mac }: TapCard, directory: string): string {
  if (target?.dev !== undefined) return target.dev;
  return `ferry${createHash('sha256')
    .update(`${directory} ${mac?.address ?? ''}`)
    .digest('hex')
    .slice(0, 9)}`;
}

/** What is to be plugged in once QEMU has made it. */
export function tapsToPlugIn({ devices }: Domain, directory: string): readonly Tap[] {
  return devices.interface.filter(isTapCard).flatMap((card) => {
    if (card.target?.managed === false) return [];
    return [
      {
        name: tapName(card, directory),
        address: `fe${required(card.mac, 'MAC address').address.slice(2)}`,
        ...(card.type === 'bridge' ? { bridge: card.source.bridge } : {}),
        ...(card.mtu === undefined ? {} : { mtu: card.mtu.size }),
      },
    ];
  });
}
