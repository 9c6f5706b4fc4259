import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

const cellsAt = '/domain/cpu/numa';

/** The guest's NUMA nodes, how far they are from each other, and the pages that they are made of. */
export function checkNuma(document: DomainDocument, findings: Findings): void {
  checkCells(document, findings);
  checkDistances(document, findings);
  checkPages(document, findings);
}

function checkCells({ vcpu, cpu }: DomainDocument, findings: Findings): void {
  const cells = cpu?.numa?.cell ?? [];
  const ids = cells.map((cell, i) => cell.id ?? i);
  if (new Set(ids).size < ids.length || ids.some((id) => id >= cells.length)) {
    findings.report('xml-invalid', cellsAt, 'the cells are not numbered from 0 without gaps', 'Renumber them');
  }
  const seen = new Set<number>();
  for (const id of cells.flatMap((cell) => cell.cpus ?? [])) {
    if (id >= vcpu.count || seen.has(id)) {
      const what = seen.has(id) ? `vCPU ${id} is in two cells` : `there is no vCPU ${id}`;
      findings.report('xml-invalid', cellsAt, what, 'Give each vCPU one cell');
      return;
    }
    seen.add(id);
  }
}

/** A node is 10 from itself and further from others (virDomainNumaDefNodeDistanceParseXML). */
function checkDistances({ cpu }: DomainDocument, findings: Findings): void {
  const cells = cpu?.numa?.cell ?? [];
  cells.forEach(({ id, distances }, i) => {
    const siblings = distances?.sibling ?? [];
    siblings.forEach((to, k) => {
      const cell = pathOf(cellsAt, 'cell', cells.length, i);
      const path = pathOf(`${cell}/distances`, 'sibling', siblings.length, k);
      if (to.id >= cells.length)
        findings.report('xml-invalid', `${path}/@id`, `the guest has no node ${to.id}`, 'Name one of its cells');
      else if ((to.id === (id ?? i)) !== (to.value === 10))
        findings.report('xml-invalid', `${path}/@value`, 'a node is 10 from itself, and no other is', 'Give 11 to 255');
    });
  });
}

/** Pages are given once, for nodes that there are; a guest without nodes is one (virDomainDefMemtuneValidate). */
function checkPages({ memoryBacking, cpu }: DomainDocument, findings: Findings): void {
  const nodes = Math.max(1, cpu?.numa?.cell.length ?? 0);
  const pages = memoryBacking?.hugepages?.page ?? [];
  pages.forEach(({ nodeset }, i) => {
    const path = pathOf('/domain/memoryBacking/hugepages', 'page', pages.length, i);
    const before = pages.slice(0, i);
    const lost = nodeset?.find((node) => node >= nodes);
    if (lost !== undefined) {
      const what = `the guest has no node ${lost}`;
      findings.report('xml-invalid', `${path}/@nodeset`, what, 'Name its own NUMA nodes');
    }
    const twice = nodeset?.find((node) => before.some((one) => one.nodeset?.includes(node) === true));
    if (twice !== undefined)
      findings.report('xml-invalid', `${path}/@nodeset`, `node ${twice} has other pages`, 'Name each node once');
    if (nodeset === undefined && before.some((one) => one.nodeset === undefined))
      findings.report('xml-invalid', path, 'other pages are for all nodes too', 'Say for which: nodeset');
  });
}
