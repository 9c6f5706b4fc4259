/**
 * Every command in README and docs/ is run, in the order of its document, as a reader would: one shell a document, in a copy of this checkout, so that
 * a lab of the reader's own is left alone. Two annotations help, invisible to readers: `<!-- run: … -->` is run too, and `<!-- serves: TEXT -->` before a block
 * says that its last command goes on, and what it prints when it serves; `<!-- refused: TEXT -->` that the block ends with an error that says so.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const root = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const below = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name));
/** Its commands are for a host of their own: install.test.ts runs them there. */
const elsewhere = 'docs/install.md';
const documents = ['README.md', 'spec/README.md', ...below('docs')].filter((path) => path !== elsewhere);

interface Block {
  readonly line: number;
  readonly commands: string;
  readonly kind: 'plain' | 'serves' | 'refused';
  readonly says: string;
}

/** What a document has its reader run: `sh` blocks, the commands of transcripts, and what is run besides. */
function blocksOf(text: string): Block[] {
  const pattern = /<!-- run:\s([^]*?)-->|(?:<!-- (serves|refused): (.*?) -->\n)?```(sh|text)\n([^]*?)```/g;
  return [...text.matchAll(pattern)].flatMap(
    ({ index, 1: hidden, 2: kind, 3: says = '', 4: language, 5: body = '' }) => {
      const line = text.slice(0, index).split('\n').length;
      const transcript = body
        .split('\n')
        .filter((each) => each.startsWith('$ ./dev ') || each.startsWith('$ for '))
        .map((each) => each.slice(2))
        .join('\n');
      const commands = hidden ?? (language === 'sh' ? body : transcript);
      if (commands.trim() === '') return [];
      return [{ line, commands: cut(commands), kind: kind === 'serves' || kind === 'refused' ? kind : 'plain', says }];
    },
  );
}

/** Long runs with the smallest number that shows the same; all tests are what runs here already. */
const cut = (commands: string): string =>
  commands
    .replaceAll(/(--(?:cases|rounds|many-rounds|many|guests)) \d+/g, '$1 1')
    .replaceAll(/--schedules \d+/g, '--schedules 100')
    .replaceAll(/n \* 100000/g, 'n * 100')
    .replaceAll(/^(?:\$ )?\.\/dev test(?= *#| *$)/gm, './dev help')
    .replaceAll(/^\.\/dev test .*$/gm, './dev help');

/** One shell script of a document. */
function scriptOf(path: string): string {
  const steps = blocksOf(read(path)).map(({ line, commands, kind, says }) => {
    const at = `echo "#### ${path}:${line}"`;
    if (kind === 'refused')
      return `${at}\nif refused=$( { ${commands.trimEnd()}\n} 2>&1); then echo 'was not refused'; exit 1; fi\ngrep -F -e '${says}' <<<"$refused"`;
    if (kind === 'plain') return `${at}\n${commands}`;
    const log = '"$FERRY_TEST_TMP/serves.log"';
    return `${at}\n( ${commands.trimEnd()} ) >${log} 2>&1 &\nserving=$!\nuntil grep -qF '${says}' ${log}; do kill -0 $serving || { cat ${log}; exit 1; }; sleep 0.1; done\nkill $serving; wait $serving || true`;
  });
  return `set -euo pipefail\ntrap 'kill -9 $(cat /tmp/ferry-by-hand/redis.pid 2>/dev/null) 2>/dev/null || true; ./dev lab down >/dev/null' EXIT\n${steps.join('\n')}\n`;
}

let copy = '';
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'ferry-docs-'));
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  const present = files.split('\0').filter((name) => name !== '' && existsSync(join(root, name)));
  for (const name of present)
    cpSync(join(root, name), join(copy, name), { preserveTimestamps: true, verbatimSymlinks: true });
  const packages = present.filter((name) => name.endsWith('/package.json')).map(dirname);
  for (const name of packages) {
    const modules = join(root, name, 'node_modules');
    if (existsSync(modules))
      cpSync(modules, join(copy, name, 'node_modules'), { recursive: true, verbatimSymlinks: true });
  }
  // Newer than its sources, so that it is not generated again: pnpm would look after the copy's links.
  cpSync(join(root, 'proto/gen'), join(copy, 'proto/gen'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  // What is installed is this checkout's: with a stamp of its own that is newer than every manifest, the copy never installs anything into it.
  mkdirSync(join(copy, '.tools'));
  const tools = readdirSync(join(root, '.tools')).filter((name) => name.startsWith('pnpm-'));
  for (const name of tools) symlinkSync(join(root, '.tools', name), join(copy, '.tools', name));
  writeFileSync(join(copy, '.tools/installed'), '');
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** Runs a script in a process group of its own, which ends with it. */
async function run(script: string): Promise<{ status: number | null; output: string }> {
  const file = join(copy, '.docs.sh');
  writeFileSync(file, script);
  const env = { ...process.env, FERRY_TEST_TMP: copy, CI: '' };
  const shell = spawn('setpriv', ['--pdeathsig', 'TERM', 'bash', file], {
    cwd: copy,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (piece: Buffer) => void (output += piece.toString()));
  const status = await new Promise<number | null>((resolve) => shell.once('close', resolve));
  return { status, output };
}

describe('the commands of', () => {
  it.each(documents.filter((path) => blocksOf(read(path)).length > 0))(
    '%s work as written, in their order',
    async (path) => {
      const { status, output } = await run(scriptOf(path));
      expect([status, status === 0 ? '' : output.slice(-4_000)]).toEqual([0, '']);
    },
    600_000,
  );

  it('the text name tests that exist', () => {
    const named = documents.flatMap((path) =>
      [...read(path).matchAll(/`\.\/dev test ([^`]+)`/g)].map(([, args = '']) => ({ path, args })),
    );
    expect(named.length).toBeGreaterThan(10);
    for (const { path, args } of named) {
      const [, files = '', title] = /^([^']*?)(?:-t (.*))?$/.exec(args.replace(/^--bundle\b/, '')) ?? [];
      for (const file of files.trim().split(/\s+/))
        expect([path, file, existsSync(join(root, file))]).toEqual([path, file, true]);
      const wanted = title?.replaceAll("'", '').trim();
      const texts = files
        .trim()
        .split(/\s+/)
        .map((file) => (file.endsWith('.ts') ? read(file) : ''));
      if (wanted !== undefined)
        expect([path, wanted, texts.some((text) => text.includes(wanted))]).toEqual([path, wanted, true]);
    }
  });
});
