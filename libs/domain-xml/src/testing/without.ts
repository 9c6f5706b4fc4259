import type { XmlProblem } from '../errors.ts';
import { prune } from '../xml/prune.ts';
import { readXml, type XmlNode } from '../xml/read.ts';
import { writeXml, type XmlOut } from '../xml/write.ts';

/** An attribute that is unknown goes alone; with a value that is refused goes the element that it is of. */
export const leftOutFor = ({ path, what }: XmlProblem): string =>
  /^attribute \S+ is not supported$/.test(what) ? path : path.replace(/\/@[^/]*$/, '');

/** A document without what some problems name. Elements of namespaces other than libvirt's go too: they are not what this is about. */
export function without(xml: string, problems: readonly XmlProblem[]): string {
  const { root } = readXml(xml, 1 << 20);
  return writeXml(outOf(prune(root, new Set(problems.map(leftOutFor))).root));
}

const outOf = (node: XmlNode): XmlOut => ({
  name: node.name,
  attributes: [
    ...(node.namespace === '' ? [] : [['xmlns', node.namespace] as const]),
    ...[...node.attributes].filter(([key]) => !key.startsWith('{')),
  ],
  ...(node.children.length === 0 ? { text: node.text } : {}),
  children: node.children
    .filter(({ namespace }) => namespace === '' || namespace.startsWith('http://libvirt.org/schemas/domain/'))
    .map(outOf),
});
