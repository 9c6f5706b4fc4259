import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const cells = (sibling: string) =>
  `<cpu><numa><cell cpus='0' memory='32768'><distances>${sibling}</distances></cell><cell cpus='1' memory='32768'/></numa></cpu>`;
const pages = (...nodesets: string[]) =>
  `<memoryBacking><hugepages>${nodesets.map((nodeset) => `<page size='2048'${nodeset}/>`).join('')}</hugepages></memoryBacking>`;
const near = 'a node is 10 from itself, and no other is';

describe('a NUMA node', () => {
  it.each([
    [cells("<sibling id='2' value='20'/>"), 'cpu/numa/cell[1]/distances/sibling/@id the guest has no node 2'],
    [cells("<sibling id='0' value='20'/>"), `cpu/numa/cell[1]/distances/sibling/@value ${near}`],
    [cells("<sibling id='1' value='10'/>"), `cpu/numa/cell[1]/distances/sibling/@value ${near}`],
    [pages('', ''), 'memoryBacking/hugepages/page[2] other pages are for all nodes too'],
    [
      pages(" nodeset='0'", " nodeset='0-1'") + cells(''),
      'memoryBacking/hugepages/page[2]/@nodeset node 0 has other pages',
    ],
  ])('is refused: %s', (more, problem) => expect(refusalsOf('', { more, vcpus: 2 })).toEqual([`/domain/${problem}`]));

  it.each([cells("<sibling id='0' value='10'/><sibling id='1' value='21'/>"), pages('', " nodeset='1'") + cells('')])(
    'is not: %s',
    (more) => expect(refusalsOf('', { more, vcpus: 2 })).toEqual([]),
  );
});
