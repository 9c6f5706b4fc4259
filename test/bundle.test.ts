/** What `./dev build` makes, as users run it: outside of the checkout, by plain `node`. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { fromBundle } from '@ferry/lab';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { startOtlpSink } from './otlp-sink.ts';
import { endOf, eventually, World } from './world.ts';

const root = join(import.meta.dirname, '..');
let dir: string;
let dist: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-bundle-'));
  dist = join(dir, 'one');
  for (const to of [dist, join(dir, 'deeper/two')])
    execFileSync(process.execPath, [join(root, 'tools/build.ts'), to], { cwd: dir, stdio: 'inherit' });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** This one, and the first other version that the machine has. */
function nodes(): string[] {
  const version = (node: string): string => execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  const others = (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, 'node'));
  const other = others.find((node) => {
    try {
      accessSync(node, constants.X_OK);
      return version(node) !== process.version;
    } catch {
      return false;
    }
  });
  return other === undefined ? [process.execPath] : [process.execPath, other];
}

/** A program to its end. */
function run(program: string, args: readonly string[], env: Record<string, string> = {}, node = process.execPath) {
  const { status, stdout, stderr } = spawnSync(node, [join(dist, program), ...args], {
    cwd: '/',
    env: { PATH: process.env['PATH'], ...env },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

it('is the same bytes each time', () => {
  const filesOf = (of: string): Record<string, string> => {
    const names = readdirSync(of, { recursive: true, encoding: 'utf8', withFileTypes: true });
    const files = names.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
    return Object.fromEntries(files.map((file) => [file.slice(of.length), readFileSync(file, 'base64')]));
  };
  const [one, two] = [filesOf(dist), filesOf(join(dir, 'deeper/two'))];
  expect(Object.keys(one).toSorted()).toEqual(Object.keys(two).toSorted());
  expect(Object.keys(one).filter((name) => one[name] !== two[name])).toEqual([]);
  // Nothing of the machine that built it; with source maps for every program.
  const programs = Object.keys(one).filter((name) => name.endsWith('.mjs'));
  expect(programs).toEqual(expect.arrayContaining(['/source-agent.mjs', '/dest-agent.mjs', '/ferry.mjs']));
  for (const name of Object.keys(one))
    expect([name, Buffer.from(one[name] ?? '', 'base64').includes(root)]).toEqual([name, false]);
  expect(Object.keys(one)).toEqual(
    expect.arrayContaining(['source-agent', 'dest-agent', 'ferry'].map((name) => `/lib/${name}.mjs.map`)),
  );
});

describe.each(nodes())('by %s', (node) => {
  it.each([
    ['v3', Protocol.PROTOCOL_V3],
    ['v2', Protocol.PROTOCOL_V2],
  ])('moves a guest, %s, in one trace over both agents', async (_name, protocol) => {
    await using sink = await startOtlpSink();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: sink.endpoint, OTEL_BSP_SCHEDULE_DELAY: '50' };
    await using world = await World.start({ command: fromBundle(dist, node), env });
    const guest = await world.boot(world.a);
    expect(endOf(await world.migrate(guest, { protocol })).failure).toBeUndefined();
    await world.expectSettled(guest, world.b);
    const traceOf = (agent: string, name: string): string | undefined =>
      sink.spans.find((span) => span.agent === agent && span.name === name)?.trace;
    const trace = await eventually('the migration is traced', () => traceOf('source-agent@a', 'migration.migrate'));
    await eventually('it is the same at the destination', () => traceOf('dest-agent@b', 'migration.finish') === trace);
    expect(sink.spans.some((span) => span.trace === trace && span.name === 'evalsha')).toBe(true);
    // The next life finds what this one has left.
    await world.b.source.restart({ signal: 'SIGKILL' });
    await world.expectSettled(guest, world.b);
    const hosts = join(dir, 'hosts.json');
    const agents = Object.values(world.lab.hosts).map(({ name, sourceAddress, destAddress }) => ({
      name,
      source: sourceAddress,
      dest: destAddress,
    }));
    writeFileSync(hosts, JSON.stringify({ tls: world.lab.tls, hosts: agents }));
    const { status, stdout } = run('ferry.mjs', ['--hosts-file', hosts, 'list'], { HOME: dir }, node);
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringContaining(guest.name) });
  });
});

it('says its version and commit', () => {
  const [version, commit] = readFileSync(join(dist, 'VERSION'), 'utf8').trim().split(' ');
  expect(run('ferry.mjs', ['--version']).stdout).toBe(`${version} (${commit})\n`);
  expect(commit).toMatch(/^([0-9a-f]{12}(\+changes)?|unknown)$/);
});

it('lets no document into its own directory', () => {
  const env = {
    FERRY_LISTEN: '127.0.0.1:0',
    FERRY_INSECURE_LOOPBACK: '1',
    FERRY_REDIS_URL: '/nowhere',
    FERRY_STATE_DIR: join(dir, 'state'),
  };
  for (const inside of [dist, join(dist, 'lib'), join(dist, 'images')]) {
    mkdirSync(inside, { recursive: true });
    const { status, stderr } = run('dest-agent.mjs', [], { ...env, FERRY_DOMAIN_PATHS: inside });
    expect({ inside, status, stderr }).toEqual({
      inside,
      status: 78,
      stderr: expect.stringContaining(`${inside} lies in ${dist}`),
    });
  }
  const { stderr } = run('source-agent.mjs', [], { ...env, FERRY_DOMAIN_PATHS: dir });
  expect(stderr).toContain(`${dir} contains `);
});

it('names an old Node, and what to do about it', () => {
  const old =
    "data:text/javascript,Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.4' } })";
  const { status, stderr } = run('source-agent.mjs', [], { NODE_OPTIONS: `--import "${old.replaceAll(' ', '%20')}"` });
  expect({ status, stderr }).toEqual({
    status: 78,
    stderr: expect.stringMatching(/^source-agent needs Node 20\.11 or newer; .* bring their own\.\n$/),
  });
});
