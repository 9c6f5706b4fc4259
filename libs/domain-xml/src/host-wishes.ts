import { pathOf } from './codec/element-codec.ts';
import type { Domain } from './domain.ts';

/** What a document asks of the host's kernel, and no QEMU can do by itself. */
export interface HostWish {
  readonly path: string;
  readonly what: string;
  /**
   * `limit`: of what the guest may take from others; `filter`: of what passes its network cards; `network`: a way to plug a card in, without which
   * it is not where it belongs.
   */
  readonly kind: 'limit' | 'filter' | 'network';
}

/** All of them, in the order of the document. What sets no bound is no wish: a quota of -1, a period alone. */
export function hostWishes({ document }: Domain): HostWish[] {
  const { blkiotune, memtune, cputune, resource } = document;
  const { partition } = resource ?? {};
  return [
    ...wishesOf('limit', '/domain/resource', { partition: partition === '/machine' ? undefined : partition }),
    ...wishesOf('limit', '/domain/blkiotune', {
      weight: blkiotune?.weight,
      device: blkiotune === undefined || blkiotune.device.length === 0 ? undefined : true,
    }),
    ...wishesOf('limit', '/domain/memtune', {
      hard_limit: bounded(memtune?.hard_limit),
      soft_limit: bounded(memtune?.soft_limit),
      swap_hard_limit: bounded(memtune?.swap_hard_limit),
      min_guarantee: memtune?.min_guarantee,
    }),
    ...wishesOf('limit', '/domain/cputune', {
      shares: cputune?.shares,
      quota: positive(cputune?.quota),
      global_quota: positive(cputune?.global_quota),
      emulator_quota: positive(cputune?.emulator_quota),
      iothread_quota: positive(cputune?.iothread_quota),
    }),
    ...document.devices.interface.flatMap((card, i) =>
      cardWishes(card, pathOf('/domain/devices', 'interface', document.devices.interface.length, i)),
    ),
  ];
}

type Card = Domain['devices']['interface'][number];

function cardWishes(card: Card, path: string): HostWish[] {
  const macvtap: HostWish[] = card.type === 'direct' ? [{ path, what: 'a macvtap device', kind: 'network' }] : [];
  const part = (name: 'virtualport' | 'vlan' | 'filterref') => (name in card ? card[name as keyof Card] : undefined);
  const isTap = card.type === 'bridge' || card.type === 'network' || card.type === 'ethernet' || card.type === 'direct';
  return [
    ...macvtap,
    ...wishesOf('network', path, { virtualport: part('virtualport'), vlan: part('vlan') }),
    ...wishesOf('filter', path, { filterref: part('filterref') }),
    // Of other networks libvirt reads it over (virNetDevSupportsBandwidth).
    ...wishesOf('limit', path, { bandwidth: isTap ? card.bandwidth : undefined }),
  ];
}

const wishesOf = (kind: HostWish['kind'], holder: string, parts: Readonly<Record<string, unknown>>): HostWish[] =>
  Object.entries(parts).flatMap(([name, value]) =>
    value === undefined ? [] : [{ path: `${holder}/${name}`, what: `<${name}>`, kind }],
  );

const positive = (quota: number | undefined): number | undefined =>
  quota === undefined || quota <= 0 ? undefined : quota;
/** libvirt's word for no limit (VIR_DOMAIN_MEMORY_PARAM_UNLIMITED), in KiB. */
const unlimitedKib = 2 ** 53 - 4;
const bounded = (kib: number | undefined): number | undefined =>
  kib === undefined || kib >= unlimitedKib ? undefined : kib;
