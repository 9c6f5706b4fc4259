/** Domain documents, read without asking any host. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import {
  type AddedArguments,
  completeDomain,
  type Domain,
  DomainXmlError,
  parseDomain,
  readArgumentRules,
  type XmlProblem,
} from '@ferry/domain-xml';
import { CliError } from './cli-error.ts';
import { bytesOf, documentBytesMax } from './document-file.ts';

/** What a domain's files may be is for the host to say that runs it; whether it may add arguments for QEMU is said as the host would be told. */
const anywhere = () => ({
  allowedRoots: ['/'],
  maxBytes: documentBytesMax,
  addedArguments: addedArguments(process.env['FERRY_QEMU_COMMANDLINE'] ?? 'refuse'),
});
/** As an agent reads it; one that cannot be read allows none. */
function addedArguments(setting: string): AddedArguments {
  if (setting === 'allow') return 'allow';
  if (!isAbsolute(setting)) return 'refuse';
  try {
    return readArgumentRules(readFileSync(setting, 'utf8'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError('usage', `FERRY_QEMU_COMMANDLINE: ${setting}: ${why}`);
  }
}

/** `pc` and `q35` stay as they are: which version they mean is for the host to say, too. */
const noHost = { machineAliases: {} };

/** A document that was read and completed, or all that is wrong with it. */
export type ReadDocument = { readonly file: string; readonly domain: Domain } | ({ readonly file: string } & Refused);

/** All that is wrong with it; `reason` is the word that an agent would answer with. */
export interface Refused {
  readonly reason: string;
  readonly refused: readonly XmlProblem[];
}

/** Reads a document and fills in what libvirt would; `-` is stdin. Whatever is wrong with it is part of the answer. Throws CliError usage for this command's environment. */
export function readOffline(file: string): ReadDocument {
  const policy = anywhere();
  const text = textOf(file);
  if (typeof text !== 'string') return { file, reason: 'xml-malformed', refused: [text] };
  return { file, ...orRefused(() => ({ domain: completeDomain(parseDomain(text, policy), noHost) })) };
}

/** What `act` makes of a document, or what is wrong with it. One document that nobody foresaw must not keep us from the others. */
export function orRefused<Made>(act: () => Made): Made | Refused {
  try {
    return act();
  } catch (error) {
    if (error instanceof DomainXmlError) return { reason: error.kind, refused: error.problems };
    const words = error instanceof Error ? error.message : String(error);
    const mistake = problem(`Ferry failed on it: ${words}`, 'This is a mistake in Ferry: report it');
    return { reason: 'internal', refused: [mistake] };
  }
}

/** A problem that has no place in the document. */
const problem = (what: string, hint: string): XmlProblem => ({ path: '/', line: 0, what, hint });

function textOf(file: string): string | XmlProblem {
  let bytes: Buffer;
  try {
    bytes = bytesOf(file);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return problem(`the file cannot be read: ${why}`, 'Name a file that is there and may be read');
  }
  if (bytes.length > documentBytesMax)
    return problem(
      `the document has more than ${documentBytesMax} bytes`,
      `At most ${documentBytesMax} bytes are read`,
    );
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return problem('the document is not UTF-8', 'Convert it, for instance with iconv -t UTF-8');
  }
}
