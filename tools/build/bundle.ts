/** What users run: each program in one file, with what it reads from beside itself in it or beside it; the same bytes whenever it is built from the same sources. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { build, type Metafile, type Plugin } from 'esbuild';
import { buildGuest } from '../../guest/src/build.ts';
import { type BuildStamp, embedding } from './embed.ts';
import { launcher, type Program } from './launcher.ts';

/** What is started by people and service managers. */
const programs: readonly (Program & { readonly main: string })[] = [
  { name: 'source-agent', main: 'services/source-agent/src/main.ts', kind: 'agent' },
  { name: 'dest-agent', main: 'services/dest-agent/src/main.ts', kind: 'agent' },
  { name: 'ferry', main: 'services/cli/src/ferry.ts', kind: 'command' },
];
/** What the programs start. */
const parts: readonly { readonly name: string; readonly main: string }[] = [
  { name: 'spawn-helper', main: 'libs/hypervisor/src/spawn-helper.ts' },
  { name: 'document-worker', main: 'libs/hypervisor/src/document-worker.ts' },
];

/** What each bundle begins with: CommonJS modules in it ask for Node's own by `require`. */
const banner = [
  "import { createRequire as ferryCreateRequire } from 'node:module';",
  'const require = ferryCreateRequire(import.meta.url), __dirname = import.meta.dirname, __filename = import.meta.filename;',
].join('\n');

/** Version and commit of a checkout. */
export function stampOf(root: string): BuildStamp {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const git = (...args: string[]): string =>
    spawnSync('git', ['-C', root, ...args], { encoding: 'utf8' }).stdout?.trim() ?? '';
  // A tarball of the sources has none.
  const commit = process.env['FERRY_COMMIT'] ?? git('rev-parse', '--short=12', 'HEAD');
  const isChanged = process.env['FERRY_COMMIT'] === undefined && git('status', '--porcelain', '-uno') !== '';
  return { version, commit: commit === '' ? 'unknown' : `${commit}${isChanged ? '+changes' : ''}` };
}

/** Builds into an empty directory `to`. */
export async function bundle(root: string, to: string, stamp: BuildStamp): Promise<void> {
  await buildGuest();
  rmSync(to, { recursive: true, force: true });
  const lib = join(to, 'lib');
  mkdirSync(lib, { recursive: true });
  const raw = rawXmlFile(root);
  copyFileSync(raw, join(lib, 'libxml2raw.mjs'));
  const embed = embedding(root, stamp);
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...programs, ...parts].map(({ name, main }) => ({ in: `ferry-entry:${main}`, out: name })),
    outdir: lib,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.11',
    mainFields: ['module', 'main'],
    banner: { js: banner },
    legalComments: 'none',
    minifyWhitespace: true,
    sourcemap: 'linked',
    sourcesContent: true,
    metafile: true,
    logLevel: 'warning',
    plugins: [ferryPlugin(root, embed)],
  });
  assertEmbedded(lib);
  for (const program of programs) writeFileSync(join(to, `${program.name}.mjs`), launcher(program));
  writeFileSync(join(to, 'LICENSES'), licences(root, metafile, raw));
  writeFileSync(join(to, 'VERSION'), `${stamp.version} ${stamp.commit}\n`);
  relateSources(root, lib);
  await compileAhead(to);
}

/** libxml2, with its WebAssembly in a text of wide characters: in one file with all other code, it would make all of it twice as large in memory. */
function rawXmlFile(root: string): string {
  const main = createRequire(join(root, 'libs/domain-xml/src/index.ts')).resolve('libxml2-wasm');
  return join(dirname(main), 'libxml2raw.mjs');
}

function ferryPlugin(root: string, embed: ReturnType<typeof embedding>): Plugin {
  return {
    name: 'ferry',
    setup(hooks) {
      // What Node lacks comes first.
      hooks.onResolve({ filter: /^ferry-entry:/ }, ({ path }) => ({ path: path.slice(12), namespace: 'ferry-entry' }));
      hooks.onLoad({ filter: /./, namespace: 'ferry-entry' }, ({ path }) => ({
        contents: `import './tools/build/compat.ts';\nimport './${path}';\n`,
        resolveDir: root,
      }));
      hooks.onResolve({ filter: /\/libxml2raw\.mjs$/ }, () => ({ path: './libxml2raw.mjs', external: true }));
      hooks.onResolve({ filter: /\/build\.ts$/ }, ({ importer }) =>
        importer === join(root, 'guest/src/index.ts')
          ? { path: join(root, 'tools/build/packaged-guest.ts') }
          : undefined,
      );
      // grpc-js asks for it when somebody serves channelz or ORCA from their .proto files. We do not.
      hooks.onResolve({ filter: /^@grpc\/proto-loader$/ }, () => ({ path: 'proto-loader', namespace: 'ferry-none' }));
      hooks.onLoad({ filter: /./, namespace: 'ferry-none' }, () => ({ contents: 'module.exports = {};' }));
      hooks.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        if (path.includes('/node_modules/')) return undefined;
        const code = readFileSync(path, 'utf8');
        // As a name of its own, all of zod's languages come with it.
        const leaner = code.replace("import { z } from 'zod';", "import * as z from 'zod';");
        return { contents: embed(leaner, path) ?? leaner, loader: 'ts' };
      });
    },
  };
}

/** Files that a bundle may look for by its own place. */
const besideUs = /^new URL\("\.\/(?:spawn-helper|document-worker)\.mjs",import\.meta\.url\)$/;

/** Throws where our own code would still look for a file that is only in the sources. */
function assertEmbedded(lib: string): void {
  for (const { name } of [...programs, ...parts]) {
    const code = readFileSync(join(lib, `${name}.mjs`), 'utf8');
    const found = code.match(/new URL\([^()]*,import\.meta\.url\)|import\.meta\.resolve\([^()]*\)/g) ?? [];
    const wrong = found.filter((expression) => !besideUs.test(expression));
    if (wrong.length > 0) throw new Error(`${name}.mjs looks for files that it does not have: ${wrong.join(', ')}`);
  }
}

/** The licences of everything that is in the bundles, each once. */
function licences(root: string, { inputs }: Metafile, ...more: string[]): string {
  const directories = [...Object.keys(inputs), ...more.map((file) => relative(root, file))]
    .map((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1])
    .filter((directory) => directory !== undefined);
  const byName = new Map<string, string>();
  for (const directory of new Set(directories)) {
    const { name, version, license } = JSON.parse(
      readFileSync(join(root, directory, 'package.json'), 'utf8'),
    ) as Record<string, string>;
    const files = execFileSync('find', ['-L', join(root, directory), '-maxdepth', '1', '-iname', 'licen[sc]e*'], {
      encoding: 'utf8',
    });
    const text = files
      .split('\n')
      .filter((file) => file !== '')
      .toSorted()
      .map((file) => readFileSync(file, 'utf8').trim());
    byName.set(`${name} ${version}`, [`${name} ${version}: ${license}`, ...text].join('\n\n'));
  }
  return `${[...byName]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, text]) => text)
    .join(`\n\n${'='.repeat(80)}\n\n`)}\n`;
}

/** Sources by their places in the checkout, wherever the bundle is. */
function relateSources(root: string, lib: string): void {
  for (const { name } of [...programs, ...parts]) {
    const file = join(lib, `${name}.mjs.map`);
    const map = JSON.parse(readFileSync(file, 'utf8')) as { sources: string[] };
    map.sources = map.sources.map((source) =>
      source.startsWith('ferry-') ? source : relative(root, resolve(lib, source)),
    );
    writeFileSync(file, JSON.stringify(map));
  }
}

/** Another build of the same takes less, ms. */
const otherBuildMs = 30_000;

/**
 * Fills the compile cache beside the bundles: each program is run to where it says that it was told nothing, with a fixed seed and at a place
 * that is named after what it is, by which V8's output is the same each time.
 */
async function compileAhead(to: string): Promise<void> {
  const hash = createHash('sha256').update(process.version);
  for (const { name } of programs) hash.update(readFileSync(join(to, 'lib', `${name}.mjs`)));
  const place = `/tmp/ferry-build-${hash.digest('hex').slice(0, 16)}`;
  await claim(place);
  try {
    cpSync(to, place, { recursive: true, filter: (file) => !file.endsWith('.map') });
    for (const { name, kind } of programs) {
      const args = ['--random-seed=1', join(place, `${name}.mjs`), ...(kind === 'command' ? ['--help'] : [])];
      const { status, stderr } = spawnSync(process.execPath, args, { env: { FERRY_LISTEN: '-' }, encoding: 'utf8' });
      if (status !== (kind === 'command' ? 0 : 78))
        throw new Error(`${name}.mjs does not start (${status}): ${stderr}`);
    }
    // Built by another user than root, it has none: what is cached is for the user who has cached it.
    if (existsSync(join(place, 'cache'))) cpSync(join(place, 'cache'), join(to, 'cache'), { recursive: true });
  } finally {
    rmSync(place, { recursive: true });
  }
}

/** Makes the directory, or throws; waits while another build has it, and takes over what one that was killed has left. */
async function claim(place: string): Promise<void> {
  const until = performance.now() + otherBuildMs;
  for (;;) {
    try {
      mkdirSync(place, { mode: 0o700 });
      return;
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'EEXIST') throw error;
    }
    if (performance.now() > until) rmSync(place, { recursive: true });
    await delay(100);
  }
}
