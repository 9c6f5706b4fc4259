/** The file by which a bundled program is started: it finds what Node has compiled before, and says what is wrong with an old Node. */
export interface Program {
  readonly name: string;
  readonly kind: 'agent' | 'command';
}

/** The oldest that the bundles are built for and tested with. */
const nodeMin = { major: 20, minor: 11 };

/** Its text. */
export function launcher({ name, kind }: Program): string {
  // A command's users have caches of their own; what is beside the program is written by its build, for root.
  const otherwise = kind === 'command' ? ownCache : '';
  return `#!/usr/bin/env node
import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < ${nodeMin.major} || (major === ${nodeMin.major} && minor < ${nodeMin.minor})) {
  process.stderr.write(\`${name} needs Node ${nodeMin.major}.${nodeMin.minor} or newer; \${process.execPath} is \${process.version}. Ferry's Debian package and tarball bring their own.\\n\`);
  process.exit(${kind === 'agent' ? 78 : 1});
}
const { NODE_COMPILE_CACHE, NODE_DISABLE_COMPILE_CACHE } = process.env;
if (!NODE_COMPILE_CACHE && !NODE_DISABLE_COMPILE_CACHE && module.enableCompileCache) {
  const built = process.version === '${process.version}' && process.getuid() === 0;
  if (built) module.enableCompileCache({ directory: join(import.meta.dirname, 'cache'), portable: true });${otherwise}
}
await import('./lib/${name}.mjs');
`;
}

const ownCache = `
  else module.enableCompileCache(join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'ferry'));`;
