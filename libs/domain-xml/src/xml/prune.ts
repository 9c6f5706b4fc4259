import { pathOf } from '../codec/element-codec.ts';
import type { XmlNode } from './read.ts';

/** What is left of a document. */
export interface Pruned {
  readonly root: XmlNode;
  /** The path in the whole document of what has this path in the pruned one. */
  readonly originOf: (path: string) => string;
}

const nameOf = ({ name, namespace }: XmlNode): string => (namespace === '' ? name : `{${namespace}}${name}`);

/** Each child with its step in a path, numbered where it has siblings of its name. */
function steps(node: XmlNode, path: string): readonly { readonly child: XmlNode; readonly path: string }[] {
  const seen = new Map<string, number>();
  return node.children.map((child) => {
    const name = nameOf(child);
    const index = seen.get(name) ?? 0;
    seen.set(name, index + 1);
    const count = node.children.filter((one) => nameOf(one) === name).length;
    return { child, path: pathOf(path, name, count, index) };
  });
}

/** A document without some of its elements and, with `/@name` at the end of their paths, attributes. */
export function prune(root: XmlNode, unwanted: ReadonlySet<string>): Pruned {
  const origins = new Map<XmlNode, string>();
  const copy = (node: XmlNode, path: string): XmlNode => {
    const attributes = new Map([...node.attributes].filter(([key]) => !unwanted.has(`${path}/@${key}`)));
    const kept = steps(node, path).filter((one) => !unwanted.has(one.path));
    const pruned = { ...node, attributes, children: kept.map((one) => copy(one.child, one.path)) };
    origins.set(pruned, path);
    return pruned;
  };
  const top = `/${root.name}`;
  const pruned = copy(root, top);
  const originOf = (path: string): string => {
    let found: { readonly child: XmlNode; readonly path: string } = { child: pruned, path: top };
    for (;;) {
      const next = steps(found.child, found.path).find((one) => path === one.path || path.startsWith(`${one.path}/`));
      if (next === undefined) return (origins.get(found.child) ?? top) + path.slice(found.path.length);
      found = next;
    }
  };
  return { root: pruned, originOf };
}
