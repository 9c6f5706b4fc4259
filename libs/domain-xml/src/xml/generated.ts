import type { XmlNode } from './read.ts';

interface Generated {
  readonly at: readonly string[];
  readonly attribute: string;
  readonly looks: RegExp;
}

/**
 * Paths that libvirt made up for a running guest, in directories of its own: it reads over them and makes them up anew at each
 * start (qemuDomainChrDefDropDefaultPath, qemuDomainDeviceGraphicsDefPostParse).
 */
const generated: readonly Generated[] = [
  {
    at: ['domain', 'devices', 'channel', 'source'],
    attribute: 'path',
    looks: /^\/(var\/lib|var\/run|run)\/libvirt\/qemu\/channel\/(target\/([^/]+\.|domain-[^/]+\/)|\d+-[^/]+\/)[^/]*$/,
  },
  { at: ['domain', 'devices', 'graphics'], attribute: 'socket', looks: /^\/var\/lib\/libvirt\/qemu\/[^/]+\/[^/]+$/ },
  {
    at: ['domain', 'devices', 'graphics', 'listen'],
    attribute: 'socket',
    looks: /^\/var\/lib\/libvirt\/qemu\/[^/]+\/[^/]+$/,
  },
];

/** The document without what libvirt reads over because it is its own. */
export function withoutGenerated(node: XmlNode, path: readonly string[] = [node.name]): XmlNode {
  const rows = generated.filter((row) => row.at.every((name, i) => path[i] === name));
  const below = generated.some((row) => path.every((name, i) => row.at[i] === name));
  if (!below && rows.length === 0) return node;
  const here = rows.filter((row) => row.at.length === path.length);
  const attributes = new Map(
    [...node.attributes].filter(([key, value]) => !here.some((row) => row.attribute === key && row.looks.test(value))),
  );
  const children = node.children.map((child) => withoutGenerated(child, [...path, child.name]));
  return { ...node, attributes, children };
}
