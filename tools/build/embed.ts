/** Puts into the bundles what the sources read from beside themselves: a bundle is elsewhere. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** What is replaced in a source file, and with what; it must be there. */
interface Replacement {
  readonly from: string;
  readonly to: string;
}

export interface BuildStamp {
  readonly version: string;
  readonly commit: string;
}

const text = (value: string | Buffer): string => JSON.stringify(value.toString());

/** The scripts of a directory by their names, as an object literal. */
function scripts(directory: string): string {
  const names = readdirSync(directory).toSorted();
  const entries = names.map(
    (name) => `${text(name.replace(/\.lua$/, ''))}: ${text(readFileSync(join(directory, name)))}`,
  );
  return `{ ${entries.join(', ')} }`;
}

/** By the file that reads, from the checkout's root. */
function replacements(root: string, stamp: BuildStamp): Readonly<Record<string, readonly Replacement[]>> {
  const lua = (library: string, name: string): Replacement => ({
    from: `readFileSync(new URL(\`./scripts/\${${name}}.lua\`, import.meta.url), 'utf8')`,
    to: `(${scripts(join(root, library, 'src/scripts'))})[${name}]`,
  });
  const besideUs = (name: string): Replacement => ({
    from: `new URL('./${name}.ts', import.meta.url)`,
    to: `new URL('./${name}.mjs', import.meta.url)`,
  });
  const base64 = (path: string): string => readFileSync(join(root, path)).toString('base64');
  return {
    'libs/handover/src/scripts.ts': [lua('libs/handover', 'name')],
    'libs/jobs/src/script-commands.ts': [lua('libs/jobs', 'file')],
    'libs/hypervisor/src/spawner.ts': [besideUs('spawn-helper')],
    'libs/hypervisor/src/document-reader.ts': [besideUs('document-worker')],
    'libs/agent/src/reflection.ts': [
      {
        from: "await readFile(fileURLToPath(import.meta.resolve('@ferry/proto/descriptors')))",
        to: `Buffer.from('${base64('proto/gen/ferry.binpb')}', 'base64')`,
      },
    ],
    // All that the package brings, beside the bundle or not, is the program's own.
    'libs/agent/src/protected-paths.ts': [
      { from: "resolve(import.meta.dirname, '../../..')", to: "resolve(import.meta.dirname, '..')" },
      {
        from: "...['libs', 'services', 'proto', 'node_modules'].map((name) => join(root, name)),",
        to: 'root,',
      },
    ],
    'services/cli/src/hosts.ts': [
      {
        from: "join(import.meta.dirname, '..', '..', '..', '.lab', 'lab.json')",
        to: "'/etc/ferry/hosts.json'",
      },
      {
        from: "'start a lab with ./dev lab up, or name a file with --hosts-file'",
        to: "'write /etc/ferry/hosts.json, or name a file with --hosts-file (docs/install.md has one)'",
      },
    ],
    'tools/build/packaged-guest.ts': [
      {
        from: "readFileSync(new URL('../../guest/build/guest.rom', import.meta.url))",
        to: `Buffer.from('${base64('guest/build/guest.rom')}', 'base64')`,
      },
    ],
    'libs/migration/src/build.ts': [
      { from: "version: '0.0.0'", to: `version: ${text(stamp.version)}` },
      { from: "commit: 'sources'", to: `commit: ${text(stamp.commit)}` },
    ],
  };
}

/** Gives what a source file is in a bundle; throws where the file no longer has what is replaced. */
export function embedding(root: string, stamp: BuildStamp): (code: string, file: string) => string | undefined {
  const all = replacements(root, stamp);
  return (code, file) => {
    const found = all[relative(root, file)];
    return found?.reduce((now, { from, to }) => {
      const parts = now.split(from);
      if (parts.length !== 2) throw new Error(`${file} must have, once, what the build replaces: ${from}`);
      return parts.join(to);
    }, code);
  };
}
