import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { completeDomain } from './complete.ts';
import { document as vocabulary } from './vocabulary/domain.ts';
import type { Domain } from './domain.ts';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';
import { qemuArguments } from './qemu/arguments.ts';
import { anyElement, places } from './testing/documents.ts';
import { writeDomain } from './write.ts';
import { writeXml, type XmlOut } from './xml/write.ts';

/** With the directories of firmware that is chosen for a document. */
const allowedRoots = ['/var/lib/libvirt/images', '/usr/share/OVMF', '/var/lib/libvirt/qemu/nvram'];
const policy = { allowedRoots, maxBytes: 1 << 20 };
const host = { machineAliases: { pc: 'pc-i440fx-7.2', q35: 'pc-q35-7.2' } };
const anyDocument = anyElement('domain', vocabulary.shape);
// Few of the documents made up at random fit together: so many that some always do.
const { SEED, RUNS = '1500' } = process.env;
const runs = { numRuns: Number(RUNS), ...(SEED === undefined ? {} : { seed: Number(SEED) }) };

/** The domain, or undefined if it is refused with problems that have a place. */
function parsed(document: XmlOut): Domain | undefined {
  try {
    return parseDomain(writeXml(document), policy);
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    for (const problem of error.problems) expect(problem.path).toMatch(/^\//);
    return undefined;
  }
}

describe('any document of the vocabulary', () => {
  it('survives being written and read, and being completed twice', () => {
    let accepted = 0;
    fc.assert(
      fc.property(anyDocument, (document) => {
        const domain = parsed(document);
        if (domain === undefined) return;
        expect(parseDomain(writeDomain(domain), policy)).toEqual(domain);
        const complete = completed(domain);
        if (complete === undefined) return;
        accepted += 1;
        expect(completeDomain(complete, host)).toEqual(complete);
        expect(parseDomain(writeDomain(complete), policy)).toEqual(complete);
        expect(completeDomain(complete, { machineAliases: {} })).toEqual(complete);
        expect(qemuArguments(complete).every((argument) => typeof argument === 'string')).toBe(true);
      }),
      runs,
    );
    expect(accepted).toBeGreaterThan(10);
  });
});

const hostile = [
  ',readonly=on',
  'a,id=x',
  'a=1,b=2',
  '-device',
  '"},{"driver":"x"',
  '../../etc/passwd',
  '/var/lib/libvirt/images/../x',
  '/var/lib/libvirt/images/a,b',
  'x\ny',
  '\';!--"<a/>&amp;',
  '__proto__',
  'constructor',
  '',
  '%s%n',
  '$(id)',
  '９',
  '99999999999999999999',
  '-1',
  'a'.repeat(5000),
];

describe('a hostile text', () => {
  it('anywhere is refused, or changes its own value and nothing else', () => {
    fc.assert(
      fc.property(anyDocument, fc.constantFrom(...hostile), fc.nat(), (document, text, pick) => {
        const before = parsed(document);
        const all = places(document);
        const place = all[pick % all.length];
        if (before === undefined || place === undefined) return;
        const after = parsed(place.with(text));
        if (after === undefined) return;
        const [base, changed] = [completed(before), completed(after)];
        if (base === undefined || changed === undefined) return;
        // The same options in the same order: none was added, and none of what begins with a dash is new.
        const options = (domain: Domain) =>
          qemuArguments(domain).filter((argument) => argument.startsWith('-') && argument !== text);
        const isAbsent = text === '' && mayBeEmpty(place.path);
        if (!isShape(place.path) && !isAbsent) expect(options(changed)).toEqual(options(base));
        for (const argument of qemuArguments(changed)) expect(hasLeaked(argument, text)).toBe(false);
      }),
      { ...runs, numRuns: 3 * Number(RUNS) },
    );
  });
});

/** What is absent where it is empty, as to libvirt: then its option is gone. */
const mayBeEmpty = (path: string): boolean => /os\/(kernel|initrd|cmdline)$/.test(path);

/** Values that decide which options there are; an empty text may switch such a thing off. */
const isShape = (path: string): boolean => /@(type|model|machine|dev|bus|mode)$|fwcfg|entry/.test(path);

/** Whether a text stands in an argument other than as a whole JSON string, a whole argument, or a whole harmless value. */
function hasLeaked(argument: string, text: string): boolean {
  if (text === '' || !argument.includes(text) || argument === text) return false;
  // A doubled comma is how QEMU's options carry one.
  if (!argument.replaceAll(',,', '').includes(text)) return false;
  if (argument.startsWith('{')) return !strings(JSON.parse(argument) as unknown).some((one) => one.includes(text));
  return /[,\n]/.test(text);
}

const strings = (value: unknown): string[] => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(strings) : [];
};

function completed(domain: Domain): Domain | undefined {
  try {
    return completeDomain(domain, host);
  } catch (error) {
    if (error instanceof DomainXmlError) return undefined;
    throw error;
  }
}
