import { type Domain, moduleBytes, startMemoryBytes } from '../domain.ts';
import { type NumaCell, rangesOf } from '../vocabulary/cpu.ts';
import type { MemoryModule } from '../vocabulary/small-devices.ts';
import { device, idOf, json, type JsonObject, required } from './json.ts';

const unitKib: Readonly<Record<string, number>> = { KiB: 1, k: 1, MiB: 1024, M: 1024, GiB: 1024 ** 2, G: 1024 ** 2 };

/** Whether the guest's NUMA nodes have memory of their own; otherwise the machine has one piece. */
export const hasNodes = ({ document }: Domain): boolean => (document.cpu?.numa?.cell.length ?? 0) > 0;

/** RAM: its size and room to grow, the objects that it is made of, and the guest's NUMA nodes. */
export function memoryArguments(domain: Domain): string[] {
  const { document } = domain;
  const { maxMemory } = document;
  const initial = startMemoryBytes(document);
  const growth =
    maxMemory === undefined ? '' : `,slots=${maxMemory.slots},maxmem=${Math.ceil(maxMemory.kib / 1024) * 1024}k`;
  return [
    '-m',
    `size=${initial / 1024}k${growth}`,
    ...(hasNodes(domain) ? nodes(domain) : ['-object', json(backend(domain, 'pc.ram', initial, undefined))]),
  ];
}

interface Wanted {
  readonly access?: 'shared' | 'private' | undefined;
  readonly discard?: boolean | undefined;
  readonly hostNodes?: { readonly mode: string; readonly nodes: readonly number[] } | undefined;
  /** Of what pages, where the piece itself says so. */
  readonly pageKib?: number | undefined;
}

/** What ordinary memory is made of on x86. */
const smallPageKib = 4;

/** A piece of memory, of what `<memoryBacking>` says. */
function backend(
  { document }: Domain,
  id: string,
  size: number,
  node: number | undefined,
  wanted: Wanted = {},
): JsonObject {
  const { memoryBacking: backing, numatune } = document;
  const access = wanted.access ?? backing?.access?.mode;
  const pages = backing?.hugepages?.page ?? [];
  const own = wanted.pageKib === undefined ? undefined : { size: wanted.pageKib, unit: 'KiB' };
  const page =
    own ??
    pages.find((one) => node !== undefined && one.nodeset?.includes(node)) ??
    pages.find((one) => one.nodeset === undefined);
  const huge =
    own === undefined
      ? backing?.hugepages !== undefined && (pages.length === 0 || page !== undefined)
      : own.size !== smallPageKib;
  const memnode = numatune?.memnode.find((one) => one.cellid === node);
  const policy = wanted.hostNodes ?? hostNodes(memnode ?? numatune?.memory);
  const common = {
    share: access === undefined ? undefined : access === 'shared',
    prealloc: backing?.allocation?.mode === 'immediate' ? true : undefined,
    'prealloc-threads': backing?.allocation?.threads,
    'host-nodes': policy?.nodes,
    policy: policy === undefined ? undefined : policy.mode,
    size,
  };
  // The name by which the memory is known in the migration stream must not depend on what it is made of.
  const name = node === undefined && id === 'pc.ram' ? { 'x-use-canonical-path-for-ramblock-id': false } : {};
  // A file of memory alone serves those who ask for a file: what they want is to share it.
  if (huge || backing?.source?.type === 'memfd' || backing?.source?.type === 'file') {
    return {
      'qom-type': 'memory-backend-memfd',
      id,
      ...(huge
        ? {
            hugetlb: true,
            ...(page === undefined ? {} : { hugetlbsize: page.size * (unitKib[page.unit] ?? 1) * 1024 }),
          }
        : {}),
      ...name,
      ...common,
      share: common.share ?? backing?.source?.type !== 'file',
    };
  }
  return { 'qom-type': 'memory-backend-ram', id, ...common };
}

function hostNodes(
  tune: { readonly mode: string; readonly nodeset?: readonly number[] } | undefined,
): Wanted['hostNodes'] {
  if (tune?.nodeset === undefined) return undefined;
  return { mode: tune.mode === 'strict' ? 'bind' : tune.mode, nodes: tune.nodeset };
}

function nodes(domain: Domain): string[] {
  const cells = domain.document.cpu?.numa?.cell ?? [];
  const objects = cells.flatMap((cell, i) => {
    const id = cell.id ?? i;
    const memory = backend(domain, `ram-node${id}`, Math.ceil(cell.memory / 1024) * 1024 * 1024, id, {
      access: cell.memAccess,
      discard: cell.discard,
    });
    const cpus = rangesOf(cell.cpus ?? [])
      .map((range) => `,cpus=${range}`)
      .join('');
    return ['-object', json(memory), '-numa', `node,nodeid=${id}${cpus},memdev=ram-node${id}`];
  });
  return [...objects, ...distances(cells)];
}

/** Distances between all nodes, if there are any; both ends must be there before (qemuBuildNumaCellCommandLine). */
function distances(cells: readonly NumaCell[]): string[] {
  if (cells.every((cell) => cell.distances === undefined)) return [];
  return cells.flatMap((from, i) =>
    cells.flatMap((to, k) => {
      const given = from.distances?.sibling.find((one) => one.id === (to.id ?? k))?.value;
      return ['-numa', `dist,src=${from.id ?? i},dst=${to.id ?? k},val=${given ?? (i === k ? 10 : 20)}`];
    }),
  );
}

/** Memory modules. */
export function memoryModuleArguments(domain: Domain): string[] {
  return domain.devices.memory.flatMap((module) => {
    const id = idOf(module);
    if (module.model === 'nvdimm') return persistentMemory(module, domain);
    const { node } = module.target;
    const { slot, base } = required(module.address, 'memory slot');
    const nodemask = module.source?.nodemask;
    const policy = nodemask === undefined ? undefined : { mode: 'bind', nodes: nodemask };
    const memory = backend(domain, `mem${id}`, moduleBytes(module), node, {
      access: module.access,
      discard: module.discard,
      hostNodes: policy,
      pageKib: module.source?.pagesize,
    });
    return [
      '-object',
      json(memory),
      ...device({
        driver: 'pc-dimm',
        node: node ?? (hasNodes(domain) ? 0 : undefined),
        memdev: `mem${id}`,
        id,
        slot,
        addr: base,
      }),
    ];
  });
}

/** Memory that is a file. A label is at its end, and taken from its size. */
function persistentMemory(module: Extract<MemoryModule, { model: 'nvdimm' }>, domain: Domain): string[] {
  const id = idOf(module);
  const { source, target } = module;
  const access = module.access ?? domain.document.memoryBacking?.access?.mode;
  const { slot, base } = required(module.address, 'memory slot');
  const isReadOnly = target.readonly === undefined ? undefined : true;
  return [
    '-object',
    json({
      'qom-type': 'memory-backend-file',
      id: `mem${id}`,
      'mem-path': source.path,
      share: access === undefined ? undefined : access === 'shared',
      size: moduleBytes(module),
      align: source.alignsize === undefined ? undefined : source.alignsize * 1024,
      pmem: source.pmem === undefined ? undefined : true,
      readonly: isReadOnly,
    }),
    ...device({
      driver: 'nvdimm',
      node: target.node ?? (hasNodes(domain) ? 0 : undefined),
      'label-size': target.label === undefined ? undefined : target.label.size * 1024,
      unarmed: isReadOnly,
      memdev: `mem${id}`,
      id,
      slot,
      addr: base,
    }),
  ];
}
