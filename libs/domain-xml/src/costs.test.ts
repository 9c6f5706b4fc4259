/** What the worst documents known cost to read: each once held an agent, and the migrations beside it, up for seconds or minutes. */
import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';
import { worstDocuments } from './testing/worst-documents.ts';

const policy = { allowedRoots: ['/srv'], maxBytes: 1024 * 1024 };
/** Milliseconds of this process' own computing: other processes of a busy machine do not count. */
function computed(act: () => void): number {
  const before = process.cpuUsage();
  act();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** How much slower than the machine where the bound was set: that one needs 8 ms for this. */
function calibrate(): number {
  const rows = Array.from({ length: 2000 }, (_, i) => ({ name: `f${i}`, policy: 'require', inside: [i, i + 1] }));
  const loop = () => {
    for (let i = 0; i < 10; i += 1) JSON.parse(JSON.stringify(rows));
  };
  return Math.max(1, Math.min(...Array.from({ length: 5 }, () => computed(loop))) / 8);
}

function read(xml: string): string {
  try {
    completeDomain(parseDomain(xml, policy), { machineAliases: {} });
    return 'read';
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    expect(error.problems.length).toBeLessThanOrEqual(256);
    return error.kind;
  }
}

const disks = (inside: string, count: number): string =>
  `<domain type='qemu'><name>w</name><memory>1</memory><os><type>hvm</type></os><devices>${`<disk type='file'>${inside}</disk>`.repeat(count)}</devices></domain>`;

describe('reading', () => {
  const bound = 200 * calibrate();
  it.each(Object.entries(worstDocuments))('%s costs less than 200 ms', (_what, xml) => {
    expect(Math.min(...[1, 2].map(() => computed(() => read(xml))))).toBeLessThan(bound);
  });

  it('a document with more wrong than is reported says nothing untrue: what cannot be noted is not built either', () => {
    expect(read(disks('', 300))).toBe('xml-invalid');
    expect(read(disks('<target/>', 600))).toBe('xml-invalid');
  });
});
