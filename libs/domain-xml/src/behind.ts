import type { Findings } from './codec/place.ts';
import { prune } from './xml/prune.ts';
import type { XmlNode } from './xml/read.ts';

/** Where others gather: what is wrong with one of them is no matter of the next. */
const gatherings: ReadonlySet<string> = new Set(['/domain', '/domain/devices']);

/**
 * Adds what else is not supported to what was found: an element with something wrong in it hides the rules that span a document, so
 * the rest is read again without it. What only goes wrong because something is left out is not reported.
 */
export function findWhatIsBehind(root: XmlNode, findings: Findings, read: (root: XmlNode) => Findings): void {
  const unwanted = new Set(findings.problems.map((problem) => problem.leaveOut));
  if (unwanted.has('/domain')) return;
  const { root: rest, originOf } = prune(root, unwanted);
  const disturbed = [...unwanted].map(holderOf).filter((holder) => !gatherings.has(holder));
  for (const { kind, path, what, hint, leaveOut } of read(rest).problems) {
    const at = originOf(path);
    const isOwn = disturbed.every((holder) => at !== holder && !at.startsWith(`${holder}/`));
    const isAbove = [...unwanted].some((one) => one.startsWith(`${at}/`));
    if (kind === 'xml-unsupported' && isOwn && !isAbove) findings.report(kind, at, what, hint, originOf(leaveOut));
  }
}

const holderOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
