import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { abiDifferences } from './abi.ts';
import { completeDomain } from './complete.ts';
import type { Domain } from './domain.ts';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';
import { qemuArguments } from './qemu/arguments.ts';
import { forThisMachine, isMissingHere } from './testing/this-machine.ts';
import { devicesOf, withDirectory } from './testing/real-qemu.ts';
import { writeDomain } from './write.ts';

/** A folder of NAME.in.xml with what libvirt makes of each in NAME.out.xml; the project's own set where none is named. */
const folder = process.env['FERRY_CONFORMANCE'] ?? join(import.meta.dirname, 'testing/documents');
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.in.xml'))
  .map((file) => file.slice(0, -'.in.xml'.length));
/** libvirt's own answer is for a QEMU without the device that it would choose. */
const ofAnotherQemu = ['usb-controller-automatic-unavailable-q35'];
const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const host = { machineAliases: {} };

function read(name: string): Domain | DomainXmlError {
  try {
    return completeDomain(parseDomain(readFileSync(join(folder, name), 'utf8'), policy), host);
  } catch (error) {
    if (error instanceof DomainXmlError) return error;
    throw error;
  }
}

describe('a document of libvirt', () => {
  it('is there', () => expect(names.length).toBeGreaterThan(3));

  it.each(names)('%s is refused by name, or becomes the machine that libvirt makes of it', async (name) => {
    const domain = read(`${name}.in.xml`);
    if (domain instanceof DomainXmlError) {
      for (const problem of domain.problems) {
        expect(problem.path).toMatch(/^\/domain/);
        expect(problem.hint).not.toBe('');
      }
      return;
    }
    const written = parseDomain(writeDomain(domain), policy);
    expect(written).toEqual(domain);
    expect(completeDomain(written, host)).toEqual(domain);
    const theirs = read(`${name}.out.xml`);
    // libvirt's own document can name what it found on its host, which Ferry refuses.
    if (!(theirs instanceof DomainXmlError) && !ofAnotherQemu.includes(name))
      expect(abiDifferences(domain, theirs)).toEqual([]);
    await withDirectory(async (directory) => {
      try {
        await devicesOf(forThisMachine(qemuArguments(domain)), directory);
      } catch (error) {
        if (!(error instanceof Error) || !isMissingHere(error.message)) throw error;
      }
    });
  });
});
