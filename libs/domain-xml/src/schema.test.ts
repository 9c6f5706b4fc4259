import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { RelaxNGValidator, XmlDocument, XmlValidateError } from 'libxml2-wasm';
import { xmlRegisterFsInputProviders } from 'libxml2-wasm/lib/nodejs.mjs';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { completeDomain } from './complete.ts';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';
import { writeDomain } from './write.ts';

/** Where Debian's libvirt0 has libvirt's own schema; it is not ours to keep a copy of. */
const schemas = process.env['FERRY_LIBVIRT_SCHEMAS'] ?? '/usr/share/libvirt/schemas';
const isHere = existsSync(join(schemas, 'domain.rng'));
const folders = [join(import.meta.dirname, 'testing/documents'), process.env['FERRY_CONFORMANCE'] ?? ''].filter(
  Boolean,
);
const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };

/** What newer libvirts write and the 9.0 of Debian 12 does not know yet, and the one device whose alias no schema knows. */
const newer = [
  / clusters='1'/g,
  /<alias name='smartcard\d+'\/>/g,
  /<watchdog model='itco' [^>]*?(?:\/>|>.*?<\/watchdog>)/gs,
  /<panic model='pvpanic'[^>]*?(?:\/>|>.*?<\/panic>)/gs,
];

function writtenOf(file: string): string | undefined {
  try {
    const domain = completeDomain(parseDomain(readFileSync(file, 'utf8'), policy), { machineAliases: {} });
    return newer.reduce((xml, words) => xml.replaceAll(words, ''), writeDomain(domain));
  } catch (error) {
    if (error instanceof DomainXmlError) return undefined;
    throw error;
  }
}

(isHere ? describe : describe.skip)(`libvirt's schema (${schemas}; from Debian's libvirt0)`, () => {
  let validator: RelaxNGValidator;
  beforeAll(() => {
    const file = join(schemas, 'domain.rng');
    xmlRegisterFsInputProviders();
    using schema = XmlDocument.fromBuffer(readFileSync(file), { url: file });
    validator = RelaxNGValidator.fromDoc(schema);
  });
  afterAll(() => validator.dispose());

  const complaintOf = (xml: string): string | undefined => {
    using document = XmlDocument.fromString(xml);
    try {
      validator.validate(document);
      return undefined;
    } catch (error) {
      if (error instanceof XmlValidateError) return error.message;
      throw error;
    }
  };

  it.each(folders)('accepts every document that is written for %s', (folder) => {
    const refused: Record<string, string> = {};
    for (const name of readdirSync(folder).filter((one) => one.endsWith('.in.xml'))) {
      const xml = writtenOf(join(folder, name));
      if (xml === undefined) continue;
      const complaint = complaintOf(xml);
      // A schema older than the document refuses libvirt's own answer too.
      const theirs = complaintOf(readFileSync(join(folder, name.replace('.in.', '.out.')), 'utf8'));
      if (complaint !== undefined && (theirs === undefined || folder === folders[0])) refused[name] = complaint;
    }
    expect(refused).toEqual({});
  });
});
