/** `ferry xml complete` and `ferry xml qemu`: what Ferry makes of documents, without any host. */
import { type Domain, qemuArguments, writeDomain, type XmlProblem } from '@ferry/domain-xml';
import { CliError } from '../cli-error.ts';
import { orRefused, readOffline } from '../documents.ts';
import { printError } from '../view/printable.ts';

/** Options of both. */
export interface XmlOptions {
  readonly json?: boolean;
}

/** Prints each document as a host would be given it: defaults, implied devices and addresses filled in. Throws CliError `failed` if any is refused. */
export function complete(files: readonly string[], chosen: XmlOptions): void {
  each(files, chosen, (domain) => {
    const xml = writeDomain(domain);
    return { json: { xml }, text: xml };
  });
}

/** Prints the QEMU command line of each document. Throws CliError `failed` if any is refused. */
export function qemu(files: readonly string[], chosen: XmlOptions): void {
  each(files, chosen, (domain) => {
    const argv = ['qemu-system-x86_64', ...processOptions, ...qemuArguments(domain)];
    return { json: { argv }, text: shellLines(argv) };
  });
}

/** What an agent starts each QEMU with, besides what belongs to its own directory: monitors, PID file, sandbox. */
const processOptions = ['-S', '-nodefaults', '-no-user-config', '-display', 'none'];

interface Made {
  readonly json: Record<string, unknown>;
  readonly text: string;
}

/** One document after the other, so that hundreds need no more memory than one; a bad one does not stop the others. */
function each(files: readonly string[], { json }: XmlOptions, make: (domain: Domain) => Made): void {
  let refusals = 0;
  for (const file of files) {
    const read = readOffline(file);
    const made = 'domain' in read ? orRefused(() => make(read.domain)) : read;
    const refused = 'refused' in made ? made.refused : [];
    if ('refused' in made) refusals += 1;
    if (json === true) {
      const rest = 'refused' in made ? {} : made.json;
      process.stdout.write(`${JSON.stringify({ file, ok: !('refused' in made), ...rest, refused })}\n`);
    } else {
      for (const problem of refused) printError(`${problemLine(file, problem)}\n`);
      if (!('refused' in made)) process.stdout.write(`${made.text.trimEnd()}\n`);
    }
  }
  if (refusals === 0) return;
  const count =
    files.length === 1 ? 'the document was refused' : `${refusals} of ${files.length} documents were refused`;
  throw new CliError('failed', count, { told: json === true });
}

/** As compilers say it, so that editors find the place: `guest.xml:12: /domain/devices/hostdev: it is not supported. Detach it first`. */
export const problemLine = (file: string, { path, line, what, hint }: XmlProblem): string =>
  `${file}:${line === 0 ? '' : `${line}:`} ${path}: ${what}. ${hint}`;

/** For a shell, each option on a line of its own. */
function shellLines(argv: readonly string[]): string {
  const lines: string[] = [];
  for (const word of argv) {
    const last = lines.at(-1);
    if (word.startsWith('-') || last === undefined) lines.push(quoted(word));
    else lines[lines.length - 1] = `${last} ${quoted(word)}`;
  }
  return lines.join(' \\\n  ');
}

const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
