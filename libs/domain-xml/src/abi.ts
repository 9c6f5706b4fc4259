import type { Domain } from './domain.ts';
import { pathOf } from './codec/element-codec.ts';
import type { XmlProblem } from './errors.ts';
import { document } from './vocabulary/domain.ts';
import type { XmlOut } from './xml/write.ts';

const same = 'The guest would see another machine: leave it as it is';

/**
 * What a guest would notice if it moved from one domain to the other; what only the host sees (paths, backends, names) may differ.
 * The paths are those of the second domain.
 */
export function abiDifferences(a: Domain, b: Domain): XmlProblem[] {
  const problems: XmlProblem[] = [];
  compare(
    document.encode('domain', a.document, true),
    document.encode('domain', b.document, true),
    '/domain',
    problems,
  );
  if (a.kept.qemuArguments.join('\0') !== b.kept.qemuArguments.join('\0')) {
    problems.push({ path: '/domain/qemu:commandline', line: 0, what: 'they are not the same', hint: same });
  }
  return problems;
}

function compare(a: XmlOut, b: XmlOut, path: string, problems: XmlProblem[]): void {
  const differs = (at: string, what: string) => problems.push({ path: at, line: 0, what, hint: same });
  const [ours, theirs] = [new Map(a.attributes), new Map(b.attributes)];
  for (const key of new Set([...ours.keys(), ...theirs.keys()])) {
    const [from, to] = [ours.get(key), theirs.get(key)];
    if (from !== to) differs(`${path}/@${key}`, `it is ${to ?? 'not given'} instead of ${from ?? 'not given'}`);
  }
  if ((a.text ?? '') !== (b.text ?? '')) differs(path, `it is ${b.text ?? 'empty'} instead of ${a.text ?? 'empty'}`);
  for (const name of new Set([...a.children, ...b.children].map((child) => child.name))) {
    const from = a.children.filter((child) => child.name === name);
    const to = b.children.filter((child) => child.name === name);
    const count = Math.max(from.length, to.length);
    for (let i = 0; i < count; i += 1) {
      const [one, other] = [from[i], to[i]];
      const at = pathOf(path, name, count, i);
      if (one === undefined) differs(at, 'it is new');
      else if (other === undefined) differs(at, 'it is missing');
      else compare(one, other, at, problems);
    }
  }
}
