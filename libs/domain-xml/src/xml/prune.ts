import { pathOf } from '../codec/element-codec.ts';
import type { XmlNode } from './read.ts';

/** What is left of a document. */
export interface Pruned {
  readonly root: XmlNode;
  /** The path in the whole document of what has this path in the pruned one. */
  readonly originOf: (path: string) => string;
}

const nameOf = ({ name, namespace }: XmlNode): string => (namespace === '' ? name : `{${namespace}}${name}`);

/** The path of each child, numbered where it has siblings of its name. */
function pathsOf(children: readonly XmlNode[], parent: string): readonly string[] {
  const names = children.map(nameOf);
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const seen = new Map<string, number>();
  return names.map((name) => {
    const index = seen.get(name) ?? 0;
    seen.set(name, index + 1);
    return pathOf(parent, name, counts.get(name) ?? 1, index);
  });
}

/** A document without some of its elements and, with `/@name` at the end of their paths, attributes. */
export function prune(root: XmlNode, unwanted: ReadonlySet<string>): Pruned {
  /** By paths in the pruned document. */
  const origins = new Map<string, string>();
  const copy = (node: XmlNode, origin: string, path: string): XmlNode => {
    origins.set(path, origin);
    const attributes = new Map([...node.attributes].filter(([key]) => !unwanted.has(`${origin}/@${key}`)));
    const from = pathsOf(node.children, origin);
    const kept = node.children.flatMap((child, i) => {
      const at = from[i] ?? origin;
      return unwanted.has(at) ? [] : [{ child, at }];
    });
    const to = pathsOf(
      kept.map(({ child }) => child),
      path,
    );
    return { ...node, attributes, children: kept.map(({ child, at }, i) => copy(child, at, to[i] ?? path)) };
  };
  const top = `/${root.name}`;
  const pruned = copy(root, top, top);
  const originOf = (path: string): string => {
    for (let above = path; above !== ''; above = above.slice(0, Math.max(0, above.lastIndexOf('/')))) {
      const origin = origins.get(above);
      if (origin !== undefined) return origin + path.slice(above.length);
    }
    return top + path;
  };
  return { root: pruned, originOf };
}
