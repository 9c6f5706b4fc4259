import type { NumaCell } from '../vocabulary/cpu.ts';

type Cell = NumaCell & { readonly id: number };

/** What is given in one direction holds in the other, and a node is 10 from itself (virDomainNumaDefNodeDistanceParseXML). */
export function withDistances(cells: readonly Cell[]): readonly Cell[] {
  const between = (from: Cell, to: Cell) => from.distances?.sibling.find((one) => one.id === to.id)?.value;
  return cells.map((cell) => {
    const far = cells.flatMap((to) => {
      const value = between(cell, to) ?? between(to, cell);
      return to === cell || value === undefined ? [] : [{ id: to.id, value }];
    });
    const isFar = cell.distances !== undefined || far.length > 0;
    const sibling = [...far, { id: cell.id, value: 10 }].toSorted((a, b) => a.id - b.id);
    return isFar ? { ...cell, distances: { sibling } } : cell;
  });
}
