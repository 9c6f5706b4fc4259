/** What the documents say is held against the code: tables and diagram, reasons, variables, exit statuses, links, the example in Python. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { isPhase, phaseNumber, phases } from '@ferry/migration';
import { World } from './world.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The text between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. */
function block(path: string, name: string): string {
  const found = new RegExp(`<!-- ${name}:begin -->([^]*)<!-- ${name}:end -->`).exec(read(path))?.[1];
  if (found === undefined) throw new Error(`${path} has no block ${name}`);
  return found;
}

/** The rows of a markdown table, without its head; a cell's text as it stands. */
function rowsOf(text: string): string[][] {
  const rows = text.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const codes = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
/** The part of a markdown file under a heading. */
const section = (text: string, heading: string): string => text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
/** The entries of an object literal in a source file, as text: `'job-held': true,` or `cancelled: status.CANCELLED,`. */
function entriesOf(path: string, name: string): [string, string][] {
  const literal = new RegExp(`const ${name}\\b[^=]*= \\{\\n([^]*?)\\n\\}`).exec(read(path))?.[1] ?? '';
  return [...literal.matchAll(/^ {2}'?([a-zA-Z-]+)'?: ([\w.]+),/gm)].map(([, key = '', value = '']) => [key, value]);
}

describe('docs/protocol.md', () => {
  it('has the phase table as the code has it', () => {
    const rows = rowsOf(block('docs/protocol.md', 'phases')).map(
      ([phase, number, side, protocols, after, recovery]) => ({
        phase: codes(phase),
        number,
        side,
        protocols,
        after: codes(after),
        recovery: codes(recovery),
      }),
    );
    const table = Object.keys(phases)
      .filter(isPhase)
      .map((phase) => ({
        phase: [phase],
        number: String(phaseNumber[phase]),
        side: phases[phase].side,
        protocols: phases[phase].protocols.join(', '),
        after: phases[phase].after,
        recovery: [phases[phase].recovery],
      }));
    expect(rows).toEqual(table);
  });

  it('has the state diagram as the code has it', () => {
    const drawn = [...block('docs/protocol.md', 'diagram').matchAll(/^\s*(\S+) --> (\S+)$/gm)].map(([, from, to]) =>
      `${from} → ${to}`.replaceAll('_', '-'),
    );
    const entered = Object.entries(phases).flatMap(([phase, { after }]) =>
      (after.length === 0 ? ['[*]'] : after).map((before) => `${before} → ${phase}`),
    );
    const followed = new Set<string>(Object.values(phases).flatMap(({ after }) => after));
    const ends = Object.keys(phases).filter((phase) => !followed.has(phase));
    expect(drawn.toSorted()).toEqual([...entered, ...ends.map((phase) => `${phase} → [*]`)].toSorted());
  });

  it('explains every recovery', () => {
    const explained = rowsOf(section(read('docs/protocol.md'), 'Phases').split('phases:end')[1] ?? '');
    const words = new Set(explained.flatMap(([recovery]) => codes(recovery)));
    expect(words).toEqual(new Set(Object.values(phases).map(({ recovery }) => recovery)));
  });
});

describe('docs/operations.md', () => {
  it('explains every variable, and no other', () => {
    const rows = rowsOf(section(read('docs/operations.md'), 'Environment'));
    const documented = rows.flatMap(([names]) => codes(names));
    const known = new Set(read('libs/agent/src/config.ts').match(/\bFERRY_[A-Z_]+\b/g));
    expect(known.size).toBeGreaterThan(10);
    expect(documented.toSorted()).toEqual([...known].toSorted());
  });

  it('has the exit statuses of ferry', () => {
    const rows = rowsOf(section(read('docs/operations.md'), 'Exit statuses of `ferry`'));
    const known = entriesOf('services/cli/src/exit-status.ts', 'exitStatus').map(([, status]) => status);
    expect(known.length).toBeGreaterThan(5);
    expect(rows.map(([status]) => status)).toEqual(known);
  });
});

describe('every document', () => {
  const documents = ['README.md', 'spec/README.md', 'deploy/observability/README.md', ...markdownBelow('docs')];

  it.each(documents)('%s links to what is there', (path) => {
    const broken = [...read(path).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, link = '']) => link)
      .filter((link) => !/^https?:/.test(link))
      .filter((link) => {
        const [file = '', anchor] = link.split('#');
        const target = file === '' ? join(root, path) : join(root, dirname(path), file);
        if (!existsSync(target)) return true;
        return anchor !== undefined && !anchorsOf(readFileSync(target, 'utf8')).includes(anchor);
      });
    expect(broken).toEqual([]);
  });

  function markdownBelow(folder: string): string[] {
    const found = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
    return found.filter((name) => name.endsWith('.md')).map((name) => join(folder, name));
  }

  /** As GitHub makes them. */
  function anchorsOf(text: string): string[] {
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading.toLowerCase());
    return headings.map((heading) => heading.replaceAll(/[^\w\- ]/g, '').replaceAll(' ', '-'));
  }
});

describe('the example in Python', () => {
  const python = '/usr/bin/python3';
  const has = spawnSync(python, ['-c', 'import grpc']).status === 0;
  if (!has) console.warn('python3-grpcio is not installed: apt-get install python3-grpcio to run these tests too');

  it('is in docs/clients.md as it is', () => {
    const shown = /```python\n([^]*?)```/.exec(read('docs/clients.md'))?.[1];
    expect(shown).toBe(read('test/clients/migrate.py'));
  });

  (has ? it : it.skip)('moves a guest, and says why if it cannot', async () => {
    await using world = await World.start();
    const guest = await world.boot(world.a, { name: 'web-1' });
    const { tls, dir, hosts } = world.lab;
    const agents = Object.values(hosts).map(({ name, sourceAddress, destAddress }) => ({
      name,
      source: sourceAddress,
      dest: destAddress,
    }));
    const file = join(dir, 'hosts.json');
    await writeFile(file, JSON.stringify({ tls, hosts: agents }));
    const migrate = (...args: string[]) => run(python, [join(root, 'test/clients/migrate.py'), file, 'web-1', ...args]);

    await expect(migrate('a', 'a')).rejects.toThrow(/same-host/);
    expect((await migrate('a', 'b')).stdout).toMatch(/^web-1 runs on b; blackout [\d.]+ ms\n$/);
    await world.expectSettled(guest, world.b);
    await expect(migrate('a', 'b')).rejects.toThrow(/domain-not-found/);
  });
});
