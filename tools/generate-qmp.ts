/**
 * Makes libs/qemu-qmp/src/generated/ from what the installed QEMU says about itself (`query-qmp-schema`).
 *
 *   node tools/generate-qmp.ts            writes the files; run it with the oldest QEMU that Ferry supports
 *   node tools/generate-qmp.ts --check    exits 1 when the files differ from what this QEMU gives; a QEMU of another
 *                                         version than theirs can't tell, and says so
 *
 * The schema numbers its types, so a type is named after the path that first reaches it
 * (`QueryMigrateReturnsRam`). What we send and what we receive are named apart, even when QEMU uses one type for
 * both: a word that we send must be one that QEMU knows, a word that we receive may be newer than our schema.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const commands = `
  query-status query-version query-commands query-qmp-schema query-name query-uuid query-kvm
  query-migrate query-migrate-capabilities migrate-set-capabilities
  query-migrate-parameters migrate-set-parameters migrate migrate_cancel migrate-continue
  migrate-incoming
  cont stop quit system_powerdown system_reset balloon set_link
  set_password expire_password
  query-pci query-memory-size-summary query-cpus-fast query-cpu-model-expansion
  query-chardev qom-list qom-get object-add object-del
  query-block query-named-block-nodes blockdev-add
  query-jobs
`
  .trim()
  .split(/\s+/);

const events = `
  STOP RESUME SHUTDOWN RESET POWERDOWN SUSPEND SUSPEND_DISK WAKEUP GUEST_PANICKED
  MIGRATION MIGRATION_PASS UNPLUG_PRIMARY FAILOVER_NEGOTIATED DEVICE_DELETED
  JOB_STATUS_CHANGE BLOCK_JOB_READY BLOCK_JOB_COMPLETED BLOCK_JOB_CANCELLED BLOCK_JOB_ERROR
  BLOCK_JOB_PENDING BLOCK_IO_ERROR BLOCK_IMAGE_CORRUPTED BLOCK_EXPORT_DELETED
`
  .trim()
  .split(/\s+/);

/** The arms of the big unions that we send in full; the others are typed by their tag alone. */
const armsSent: Readonly<Record<string, readonly string[]>> = {
  'blockdev-add': ['file', 'host_device', 'raw', 'qcow2', 'nbd', 'null-co'],
  'object-add': [
    'iothread',
    'memory-backend-file',
    'memory-backend-memfd',
    'memory-backend-ram',
    'tls-creds-psk',
    'tls-creds-x509',
  ],
};

/** Members that a QEMU newer than the schema no longer sends: `ram.skipped` is gone since 9.1. */
const droppedLater: ReadonlySet<string> = new Set(['QueryMigrateReturnsRamSkipped']);

/**
 * Optional members that only a QEMU newer than the schema takes; whoever sends one has asked `Monitor.supports` first.
 * `exit-on-error` (9.1): without it a destination that can't load the guest exits and leaves its reason on stderr.
 */
const addedLater: Readonly<Record<string, readonly Member[]>> = {
  MigrateIncomingArguments: [{ name: 'exit-on-error', type: 'bool', default: null }],
};

type Member = { name: string; type: string; default?: null };
type Entry =
  | { 'meta-type': 'builtin'; name: string; 'json-type': string }
  | { 'meta-type': 'enum'; name: string; values: string[] }
  | { 'meta-type': 'array'; name: string; 'element-type': string }
  | {
      'meta-type': 'object';
      name: string;
      members: Member[];
      tag?: string;
      variants?: { case: string; type: string }[];
    }
  | { 'meta-type': 'alternate'; name: string; members: { type: string }[] }
  | { 'meta-type': 'command'; name: string; 'arg-type': string; 'ret-type': string }
  | { 'meta-type': 'event'; name: string; 'arg-type': string };

const builtins: Readonly<Record<string, string>> = {
  str: 'string',
  any: 'unknown',
  bool: 'boolean',
  int: 'number',
  number: 'number',
  null: 'null',
};

/** What the installed QEMU answers: its version and its schema. */
function ask(qemu: string): { version: string; schema: Entry[] } {
  const input = ['qmp_capabilities', 'query-qmp-schema', 'quit']
    .map((name) => JSON.stringify({ execute: name }))
    .join('\n');
  const options = { input: `${input}\n`, maxBuffer: 16 << 20, timeout: 60_000, encoding: 'utf8' } as const;
  const run = spawnSync(qemu, ['-S', '-nodefaults', '-display', 'none', '-machine', 'none', '-qmp', 'stdio'], options);
  if (run.status !== 0) throw new Error(`${qemu} failed: ${run.error?.message ?? run.stderr}`);
  const lines = run.stdout.trim().split('\n');
  const { major, minor } = JSON.parse(lines[0] ?? '').QMP.version.qemu;
  return { version: `${major}.${minor}`, schema: JSON.parse(lines[2] ?? '').return };
}

const pascal = (name: string) =>
  name
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
const eventPascal = (name: string) => pascal(name.toLowerCase());
const key = (name: string) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `'${name}'`);
const words = (values: readonly string[]) => values.map((value) => `'${value}'`).join(' | ');

/** Walks the types that one direction reaches; `types` and `shapes` hold what was written for each. */
class Walk {
  readonly types: string[] = [];
  readonly shapes: string[] = [];
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #sent: boolean;
  readonly #names: Map<string, string> = new Map();
  readonly #taken: Set<string>;
  #arms: readonly string[] | undefined;

  constructor(entries: ReadonlyMap<string, Entry>, direction: 'sent' | 'received', taken: Set<string>) {
    this.#entries = entries;
    this.#sent = direction === 'sent';
    this.#taken = taken;
  }

  /** The TypeScript type and the run-time shape of a schema type, reached by `path`. */
  type(name: string, path: string, arms?: readonly string[]): { ts: string; shape: string } {
    if (arms) this.#arms = arms;
    const entry = this.#entries.get(name);
    if (!entry) throw new Error(`the schema lacks its own type ${name}`);
    switch (entry['meta-type']) {
      case 'builtin':
        return { ts: builtins[name] ?? 'unknown', shape: `'${name}'` };
      case 'enum':
        return { ts: this.#enum(name, entry.values, path), shape: "'str'" };
      case 'array': {
        const element = this.type(entry['element-type'], path);
        return { ts: `ReadonlyArray<${element.ts}>`, shape: `{ list: ${element.shape} }` };
      }
      case 'alternate': {
        const forms = entry.members.map((member) => this.type(member.type, path));
        return {
          ts: forms.map(({ ts }) => ts).join(' | '),
          shape: `{ oneOf: [${forms.map(({ shape }) => shape).join(', ')}] }`,
        };
      }
      case 'object':
        return this.#object(name, entry, path);
      case 'command':
      case 'event':
        break;
    }
    throw new Error(`${path} leads to a ${entry['meta-type']}`);
  }

  #enum(name: string, values: readonly string[], path: string): string {
    const known = this.#names.get(name);
    if (known) return known;
    const ts = this.#name(name, path);
    this.types.push(`export type ${ts} = ${words(values)}${this.#sent ? '' : ' | LaterWord'};`);
    return ts;
  }

  #object(name: string, entry: Entry & { 'meta-type': 'object' }, path: string): { ts: string; shape: string } {
    if (entry.members.length === 0 && !entry.variants) {
      return { ts: this.#sent ? 'NoArguments' : 'NoMembers', shape: `{ object: 'NoMembers' }` };
    }
    const known = this.#names.get(name);
    if (known) return { ts: known, shape: `{ object: '${known}' }` };
    const ts = this.#name(name, path);
    const arms = this.#arms;
    this.#arms = undefined;
    const at = this.types.push('') - 1;
    const shapeAt = this.shapes.push('') - 1;
    const members = [...entry.members.filter(({ name: member }) => member !== entry.tag), ...(addedLater[path] ?? [])];
    const tsLines: string[] = [];
    const shapeLines: string[] = [];
    for (const member of members) {
      const of = this.type(member.type, path + pascal(member.name));
      // `undefined` may be given for what we send, JSON leaves it out; it is never received.
      const optional = 'default' in member || droppedLater.has(path + pascal(member.name));
      tsLines.push(
        `  readonly ${key(member.name)}${optional ? '?' : ''}: ${of.ts}${optional && this.#sent ? ' | undefined' : ''};`,
      );
      shapeLines.push(`${key(member.name)}: { is: ${of.shape}${optional ? ', optional: true' : ''} }`);
    }
    if (entry.variants && entry.tag !== undefined) {
      const union = this.#variants(entry.tag, entry, path, arms);
      const base = tsLines.length === 0 ? '' : `{\n${tsLines.join('\n')}\n} & `;
      this.types[at] = `export type ${ts} = ${base}(\n${union.ts.map((arm) => `  | ${arm}`).join('\n')}\n);`;
      shapeLines.push(`${key(entry.tag)}: { is: 'str' }`);
      const cases = union.shapes.join(', ');
      this.shapes[shapeAt] =
        `  ${ts}: { members: { ${shapeLines.join(', ')} }, tag: '${entry.tag}', arms: { ${cases} } },`;
    } else {
      this.types[at] = `export interface ${ts} {\n${tsLines.join('\n')}\n}`;
      this.shapes[shapeAt] = `  ${ts}: { members: { ${shapeLines.join(', ')} } },`;
    }
    return { ts, shape: `{ object: '${ts}' }` };
  }

  #variants(tag: string, entry: Entry & { 'meta-type': 'object' }, path: string, arms: readonly string[] | undefined) {
    const tagType = this.#entries.get(entry.members.find(({ name }) => name === tag)?.type ?? '');
    const variants = new Map(entry.variants?.map((variant) => [variant.case, variant.type]));
    const ts: string[] = [];
    const shapes: string[] = [];
    const bare: string[] = [];
    for (const word of tagType?.['meta-type'] === 'enum' ? tagType.values : []) {
      const type = variants.get(word);
      const armEntry = this.#entries.get(type ?? '');
      const empty = armEntry?.['meta-type'] !== 'object' || (armEntry.members.length === 0 && !armEntry.variants);
      if (type === undefined || empty || (arms && !arms.includes(word))) {
        bare.push(word);
        continue;
      }
      const arm = this.type(type, path + pascal(word));
      ts.push(`({ readonly ${key(tag)}: '${word}' } & ${arm.ts})`);
      shapes.push(`${key(word)}: '${arm.ts}'`);
    }
    if (bare.length > 0) ts.push(`{ readonly ${key(tag)}: ${words(bare)} }`);
    return { ts, shapes };
  }

  #name(type: string, path: string): string {
    if (this.#taken.has(path)) throw new Error(`two types would be named ${path}`);
    this.#taken.add(path);
    this.#names.set(type, path);
    return path;
  }
}

const headerOf = (version: string) =>
  `// Generated by tools/generate-qmp.ts from query-qmp-schema of QEMU ${version}. Do not edit.\n`;

/** The two generated files, as text. */
function generate(version: string, schema: Entry[]): { 'qmp.ts': string; 'shapes.ts': string } {
  const entries = new Map(schema.map((entry) => [entry.name, entry]));
  const taken = new Set(['Commands', 'Events', 'NoArguments', 'NoMembers', 'LaterWord']);
  const sent = new Walk(entries, 'sent', taken);
  const received = new Walk(entries, 'received', taken);
  const face = { commands: [] as string[], events: [] as string[], replies: [] as string[], data: [] as string[] };
  for (const name of commands.toSorted()) {
    const entry = entries.get(name);
    if (entry?.['meta-type'] !== 'command') throw new Error(`QEMU ${version} has no command ${name}`);
    const args = sent.type(entry['arg-type'], `${pascal(name)}Arguments`, armsSent[name]);
    const returns = received.type(entry['ret-type'], `${pascal(name)}Returns`);
    face.commands.push(`  ${key(name)}: { arguments: ${args.ts}; returns: ${returns.ts} };`);
    face.replies.push(`  ${key(name)}: ${returns.shape},`);
  }
  for (const name of events.toSorted()) {
    const entry = entries.get(name);
    if (entry?.['meta-type'] !== 'event') throw new Error(`QEMU ${version} has no event ${name}`);
    const data = received.type(entry['arg-type'], `${eventPascal(name)}Data`);
    face.events.push(`  ${key(name)}: ${data.ts};`);
    face.data.push(`  ${key(name)}: ${data.shape},`);
  }
  const block = (opening: string, lines: readonly string[]) => `${opening} {\n${lines.join('\n')}\n}\n`;
  const qmp = [
    headerOf(version),
    '/** A word that a QEMU newer than the schema may send where the schema lists all that it knows. */',
    'export type LaterWord = string & Record<never, never>;\n',
    'export type NoArguments = Record<string, never>;\n',
    'export type NoMembers = Record<never, never>;\n',
    block('export interface Commands', face.commands),
    block('export interface Events', face.events),
    `${[...sent.types, ...received.types].join('\n\n')}\n`,
  ];
  const shapes = [
    headerOf(version),
    "import type { Shape, ShapeTable } from '../decode.ts';",
    "import type { Commands, Events } from './qmp.ts';\n",
    `export const replyShapes: Readonly<Record<keyof Commands, Shape>> = {\n${face.replies.join('\n')}\n};\n`,
    `export const eventShapes: Readonly<Record<keyof Events, Shape>> = {\n${face.data.join('\n')}\n};\n`,
    `export const objectShapes: ShapeTable = {\n  NoMembers: { members: {} },\n${received.shapes.join('\n')}\n};\n`,
  ];
  return { 'qmp.ts': qmp.join('\n'), 'shapes.ts': shapes.join('\n') };
}

const directory = join(import.meta.dirname, '../libs/qemu-qmp/src/generated');
const { version, schema } = ask(process.env['QEMU'] ?? 'qemu-system-x86_64');
const header = headerOf(version);
for (const [name, text] of Object.entries(generate(version, schema))) {
  const path = join(directory, name);
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
    continue;
  }
  const committed = readFileSync(path, 'utf8');
  if (!committed.startsWith(header)) process.stdout.write(`${path} is not of QEMU ${version}: not compared\n`);
  else if (committed === text) process.stdout.write(`${path} is what QEMU ${version} gives\n`);
  else {
    process.exitCode = 1;
    process.stderr.write(`${path} is not what QEMU ${version} gives; run: node tools/generate-qmp.ts\n`);
  }
}
