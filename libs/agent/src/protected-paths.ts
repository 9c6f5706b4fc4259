/** What no document may reach: a monitor, a journal or a key that it names as a file of its own would give it the agent's power. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** Where this program is, and the Node that runs it. */
const root = resolve(import.meta.dirname, '../../..');
const programs = [
  ...['libs', 'services', 'proto', 'node_modules'].map((name) => join(root, name)),
  dirname(process.execPath),
];

/** What is an agent's own, as far as its configuration says where that is. */
export interface AgentPaths {
  readonly stateDir: string;
  readonly sockets: string;
  readonly tls: readonly string[];
  /** Redis, if it is reached by a UNIX socket. */
  readonly redisSocket: string | undefined;
}

/** The agent's own directories and files, by real paths. */
export function protectedPaths({ stateDir, sockets, tls, redisSocket }: AgentPaths): readonly string[] {
  const keys = tls.map((file) => dirname(resolvedPath(file)));
  const own = [stateDir, sockets, ...(redisSocket === undefined ? [] : [redisSocket]), ...programs];
  return [...new Set([...keys, ...own.map(resolvedPath)])];
}

/** What is wrong with directories that documents may use: one contains something of the agent's own, or lies in it. */
export function domainPathProblems(domainPaths: readonly string[], own: readonly string[]): string[] {
  return domainPaths.flatMap((path) => {
    const real = resolvedPath(path);
    const shown = real === resolve(path) ? path : `${path} (really ${real})`;
    const inside = own.find((one) => isWithin(real, one));
    const around = own.find((one) => isWithin(one, real));
    if (inside === undefined && around === undefined) return [];
    const how = inside === undefined ? `contains ${around}` : `lies in ${inside}`;
    return [
      `FERRY_DOMAIN_PATHS: ${shown} ${how}, which is the agent's own: a document could take it over; name others`,
    ];
  });
}

const isWithin = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory.endsWith('/') ? directory : `${directory}/`);

/** With links followed, also of what is not there yet. */
function resolvedPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(resolvedPath(above), basename(path));
  }
}
