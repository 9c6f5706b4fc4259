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
import type { PciAddress } from './vocabulary/address.ts';
import { leftOutFor, without } from './testing/without.ts';
import { devicesOf, withDirectory } from './testing/real-qemu.ts';
import { writeDomain } from './write.ts';

/** A folder of NAME.in.xml with what libvirt makes of each in NAME.out.xml; the project's own set where none is named. */
const folder = process.env['FERRY_CONFORMANCE'] ?? join(import.meta.dirname, 'testing/documents');
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.in.xml'))
  .map((file) => file.slice(0, -'.in.xml'.length));
/** libvirt's own answer is for a QEMU without the device that it would choose. */
const ofAnotherQemu = ['usb-controller-automatic-unavailable-q35'];
/** Made up, or found on libvirt's host: not the document's. */
const notTheDocuments = /^\/domain\/(genid|os\/loader)$/;
const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const host = { machineAliases: {} };

const textOf = (name: string): string => readFileSync(join(folder, name), 'utf8');

function read(xml: string): Domain | DomainXmlError {
  try {
    return completeDomain(parseDomain(xml, policy), host);
  } catch (error) {
    if (error instanceof DomainXmlError) return error;
    throw error;
  }
}

/** Everything refused has to be refused, and nothing else is: without it the document is read, or misses just that. */
function expectExact(xml: string, { problems }: DomainXmlError): void {
  const rest = read(without(xml, problems));
  if (rest instanceof DomainXmlError) {
    const removed = problems.map(leftOutFor);
    const new_ = rest.problems.filter((problem) => !removed.some((path) => isAround(problem.path, path)));
    expect(new_.map(({ path, what }) => `${path} ${what}`)).toEqual([]);
  }
  for (const problem of problems.slice(0, 20)) {
    const others = problems.filter((one) => !leftOutFor(problem).startsWith(leftOutFor(one)));
    const still = read(without(xml, others));
    if (!(still instanceof DomainXmlError)) throw new Error(`${problem.path} would have been accepted`);
    expect(still.problems.map((one) => one.what)).toContain(problem.what);
  }
}

/** Whether an element is one that something was taken out of, or beside what was. */
function isAround(path: string, removed: string): boolean {
  const plain = (one: string) => one.replaceAll(/\[\d+\]/g, '');
  const holder = plain(removed).slice(0, plain(removed).lastIndexOf('/'));
  return holder.startsWith(plain(path)) || (holder !== '/domain/devices' && plain(path).startsWith(`${holder}/`));
}

/** Where each device with a name and a PCI address must be found. */
function placesOf({ devices }: Domain): Record<string, string> {
  const buses = new Map<number, string>();
  for (const c of devices.controller) {
    if (c.type !== 'pci') continue;
    const name = c.model === 'pci-root' ? 'pci.0' : c.model === 'pcie-root' ? 'pcie.0' : c.alias?.name;
    buses.set(c.index ?? 0, name ?? '');
  }
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const places: Record<string, string> = {};
  const all: readonly unknown[] = Object.values(devices).flat();
  for (const device of all as readonly {
    address?: PciAddress;
    alias?: { name: string };
    master?: object;
    type?: string;
  }[]) {
    const { address, alias } = device;
    // What the chipset has built in has no name, and a companion is part of its master.
    if (address?.type !== 'pci' || alias === undefined || isBuiltIn(address, alias.name)) continue;
    places[alias.name] = `${buses.get(address.bus)} ${hex(address.slot, 2)}.${address.function}`;
  }
  return places;
}

const isBuiltIn = ({ bus }: PciAddress, name: string): boolean => bus === 0 && name === 'ide';

describe('a document of libvirt', () => {
  it('is there', () => expect(names.length).toBeGreaterThan(3));

  it.each(names)('%s is refused by name, or becomes the machine that libvirt makes of it', async (name) => {
    const xml = textOf(`${name}.in.xml`);
    const domain = read(xml);
    if (domain instanceof DomainXmlError) {
      for (const problem of domain.problems) {
        expect(problem.path).toMatch(/^\/domain/);
        expect(problem.hint).not.toBe('');
      }
      expectExact(xml, domain);
      return;
    }
    const written = parseDomain(writeDomain(domain), policy);
    expect(written).toEqual(domain);
    expect(completeDomain(written, host)).toEqual(domain);
    const theirs = read(textOf(`${name}.out.xml`));
    // libvirt's own document can name what it found on its host, which Ferry refuses.
    if (!(theirs instanceof DomainXmlError) && !ofAnotherQemu.includes(name))
      expect(abiDifferences(domain, theirs).filter(({ path }) => !notTheDocuments.test(path))).toEqual([]);
    await withDirectory(async (directory) => {
      try {
        const found = await devicesOf(forThisMachine(qemuArguments(domain, directory), directory), directory);
        expect(found).toEqual(placesOf(domain));
      } catch (error) {
        if (!(error instanceof Error) || !isMissingHere(error.message)) throw error;
      }
    });
  });
});
