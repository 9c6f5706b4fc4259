import { createHash } from 'node:crypto';
import { pathOf } from './codec/element-codec.ts';
import type { Domain } from './domain.ts';
import { listenNetworksOf } from './listen-networks.ts';
import { required } from './qemu/json.ts';
import type { NetworkInterface } from './vocabulary/interface.ts';

/** A network device that QEMU makes for a card, and that ends with it. */
export interface Tap {
  readonly name: string;
  /** High, so that the bridge does not take it for its own (virNetDevTapCreateInBridgePort). */
  readonly address: string;
  readonly bridge?: string;
  /** Sees none of the bridge's other isolated ports. */
  readonly isolated?: true;
  readonly mtu?: number;
}

/** The bridges of a host by what it calls them: the name of a network, or NETWORK/PORTGROUP. */
export type Networks = ReadonlyMap<string, string>;

/** A network that a card is plugged into, as a host knows it. */
export interface NetworkUse {
  readonly network: string;
  /** Where the document names it. */
  readonly path: string;
}

type TapCard = Extract<NetworkInterface, { readonly type: 'bridge' | 'network' | 'ethernet' | 'direct' }>;
const isTapCard = (card: NetworkInterface): card is TapCard =>
  card.type === 'bridge' || card.type === 'network' || card.type === 'ethernet' || card.type === 'direct';

/** The name of a card's tap. One that nobody named is called after the card and the directory of the domain, which is one host's. */
export function tapName({ target, mac }: TapCard, directory: string): string {
  if (target?.dev !== undefined) return target.dev;
  return `ferry${createHash('sha256')
    .update(`${directory} ${mac?.address ?? ''}`)
    .digest('hex')
    .slice(0, 9)}`;
}

/** A port group is a part of its network, with rules of its own: what a host calls it has both names. */
const networkOf = ({ source }: Extract<NetworkInterface, { readonly type: 'network' }>): string =>
  source.portgroup === undefined ? source.network : `${source.network}/${source.portgroup}`;

/** Every network that the host must know. */
export function networksOf(domain: Domain): readonly NetworkUse[] {
  const cards = domain.devices.interface;
  const ofCards = cards.flatMap((card, i) =>
    card.type === 'network'
      ? [{ network: networkOf(card), path: `${pathOf('/domain/devices', 'interface', cards.length, i)}/source` }]
      : [],
  );
  return [...ofCards, ...listenNetworksOf(domain)];
}

function bridgeOf(card: TapCard, networks: Networks): string | undefined {
  // No host makes macvtap devices yet (hostWishes).
  if (card.type === 'ethernet' || card.type === 'direct') return undefined;
  if (card.type === 'bridge') return card.source.bridge;
  return required(networks.get(networkOf(card)), `bridge of network ${networkOf(card)}`);
}

/** Whether QEMU opens network devices of the host. */
export const usesTaps = ({ devices }: Domain): boolean => devices.interface.some(isTapCard);

/** What is to be plugged in once QEMU has made it, on a host that has all of the domain's networks. */
export function tapsToPlugIn({ devices }: Domain, directory: string, networks: Networks): readonly Tap[] {
  return devices.interface.filter(isTapCard).flatMap((card) => {
    if (card.target?.managed === false) return [];
    const bridge = bridgeOf(card, networks);
    return [
      {
        name: tapName(card, directory),
        address: `fe${required(card.mac, 'MAC address').address.slice(2)}`,
        ...(bridge === undefined ? {} : { bridge }),
        ...('port' in card && card.port?.isolated === true ? { isolated: true } : {}),
        ...(card.mtu === undefined ? {} : { mtu: card.mtu.size }),
      },
    ];
  });
}
