/** `ferry check`: what is supported in a document, and whether it could run and migrate, without starting anything. */
import { call } from '@ferry/rpc';
import { migrationHazards } from '@ferry/domain-xml';
import { DomainsService, type Finding, Prevents } from '@ferry/proto/ferry/v1/domains';
import { CliError } from '../cli-error.ts';
import { readDocument } from '../document-file.ts';
import { readOffline } from '../documents.ts';
import { callError } from '../failure.ts';
import type { Hosts } from '../hosts.ts';
import { print } from '../view/printable.ts';

/** Options of the command. */
export interface CheckOptions {
  readonly host?: string;
  readonly json?: boolean;
}

/** A host asks a QEMU of its own what its CPUs can do. */
const answerMs = 60_000;

/** Asks a host. Throws CliError `failed` if the document cannot run there or cannot be moved safely. */
export async function checkOnHost(hosts: Hosts, file: string, chosen: CheckOptions & { host: string }): Promise<void> {
  const { name, source } = hosts.named(chosen.host);
  const request = { domainXml: readDocument(file) };
  const { findings } = await call(source.client, DomainsService.check, request, AbortSignal.timeout(answerMs)).catch(
    (error: unknown) => {
      throw callError(error, source.name);
    },
  );
  tell(file, name, findings, chosen.json === true);
}

/** Looks at the document alone. Throws CliError `failed` if it is not supported or cannot be moved safely. */
export function checkOffline(file: string, chosen: CheckOptions): void {
  const read = readOffline(file);
  const findings =
    'refused' in read
      ? read.refused.map((problem) => ({ prevents: Prevents.PREVENTS_RUNNING, reason: read.reason, ...problem }))
      : migrationHazards(read.domain).map((hazard) => ({
          prevents: Prevents.PREVENTS_SAFE_MIGRATION,
          reason: 'migration-unsafe',
          ...hazard,
        }));
  tell(file, undefined, findings, chosen.json === true);
}

const words: Readonly<Record<Prevents, { readonly json: string; readonly text: string }>> = {
  [Prevents.PREVENTS_UNSPECIFIED]: { json: 'unknown', text: 'unknown' },
  [Prevents.PREVENTS_RUNNING]: { json: 'running', text: 'cannot run' },
  [Prevents.PREVENTS_SAFE_MIGRATION]: { json: 'safe-migration', text: 'unsafe to move' },
  [Prevents.PREVENTS_NOTHING]: { json: 'nothing', text: 'note' },
  [Prevents.UNRECOGNIZED]: { json: 'unknown', text: 'unknown' },
};

function tell(file: string, host: string | undefined, findings: readonly Finding[], json: boolean): void {
  const run = !findings.some(({ prevents }) => prevents === Prevents.PREVENTS_RUNNING);
  const migrate = run && !findings.some(({ prevents }) => prevents === Prevents.PREVENTS_SAFE_MIGRATION);
  if (json) {
    const told = findings.map((finding) => ({ ...finding, prevents: words[finding.prevents].json }));
    process.stdout.write(`${JSON.stringify({ file, host, ok: run && migrate, run, migrate, findings: told })}\n`);
  } else {
    for (const finding of findings) print(`${lineOf(file, finding)}\n`);
    print(`${verdict(file, host, run, migrate)}\n`);
  }
  if (!run || !migrate) throw new CliError('failed', verdict(file, host, run, migrate), { told: true });
}

function lineOf(file: string, { prevents, reason, path, line, what, hint }: Finding): string {
  const place = path === '' ? '' : ` ${path}:`;
  const help = hint === '' ? '' : `. ${hint}`;
  return `${file}:${line === 0 ? '' : `${line}:`} ${words[prevents].text} (${reason}):${place} ${what}${help}`;
}

function verdict(file: string, host: string | undefined, run: boolean, migrate: boolean): string {
  if (!run) return host === undefined ? `${file} is not supported` : `${file} cannot run on ${host}`;
  const could = host === undefined ? `${file} is supported: it could run` : `${file} could run on ${host}`;
  return `${could}, and migrate${migrate ? '' : ' only with --unsafe'}`;
}
