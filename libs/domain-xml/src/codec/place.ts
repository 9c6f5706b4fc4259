import type { AddedArguments } from '../added-arguments.ts';
import { DomainXmlError, type XmlProblem } from '../errors.ts';

/** What a document may ask of this host. */
export interface XmlPolicy {
  /** Absolute directories that a domain's files may be in. */
  readonly allowedRoots: readonly string[];
  readonly maxBytes: number;
  /** Which arguments `<qemu:commandline>` may add: they can reach everything that QEMU can. None if not given. */
  readonly addedArguments?: AddedArguments;
}

export type ProblemKind = 'xml-unsupported' | 'xml-invalid';

/** A document with more wrong than this is not a domain: nobody reads on. */
const problemsMax = 256;

interface FoundProblem extends XmlProblem {
  readonly kind: ProblemKind;
  /** The path of the element or attribute without which this would not be wrong. */
  readonly leaveOut: string;
}

/** Everything found wrong so far, with the lines of what has been read. */
export class Findings {
  readonly policy: XmlPolicy;
  readonly problems: FoundProblem[] = [];
  readonly #lines: Map<string, number>;

  /** `lines` of a document that was read before: what is found of it now is named by them. */
  constructor(policy: XmlPolicy, lines: ReadonlyMap<string, number> = new Map()) {
    this.policy = policy;
    this.#lines = new Map(lines);
  }

  /** Where each element was read, by its path. */
  get lines(): ReadonlyMap<string, number> {
    return this.#lines;
  }

  /** Everything found, as the error to throw: `xml-unsupported` when all of it is merely unknown. */
  error(): DomainXmlError {
    const unsupported = this.problems.every((problem) => problem.kind === 'xml-unsupported');
    const problems = this.problems.map(({ path, line, what, hint }): XmlProblem => ({ path, line, what, hint }));
    return new DomainXmlError(unsupported ? 'xml-unsupported' : 'xml-invalid', problems);
  }

  /** Nothing more is noted, so that reading on would tell nothing. */
  get full(): boolean {
    return this.problems.length >= problemsMax;
  }

  visit(path: string, line: number): void {
    this.#lines.set(path, line);
  }

  /** The line is that of the path, or of the nearest element above it. A wrong value is left out with its element. */
  report(kind: ProblemKind, path: string, what: string, hint: string, leaveOut = elementOf(path)): void {
    if (this.full) return;
    let at = path;
    while (at !== '' && !this.#lines.has(at)) at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
    this.problems.push({ kind, path, line: this.#lines.get(at) ?? 0, what, hint, leaveOut });
  }
}

/** Where each element's value was read, for what is found out about it later. */
const origins = new WeakMap<object, { readonly path: string; readonly line: number }>();
export const originOf = (value: object | undefined): { readonly path: string; readonly line: number } | undefined =>
  value && origins.get(value);
/** Notes where an element's value stands, and gives it back. */
export function withOrigin<T extends object>(value: T, path: string, line: number): T {
  origins.set(value, { path, line });
  return value;
}

const readLines = new WeakMap<object, ReadonlyMap<string, number>>();
/** Where the elements of a document were read, by what is kept of it. */
export const linesOf = (kept: object): ReadonlyMap<string, number> => readLines.get(kept) ?? new Map();
export const noteLines = (kept: object, lines: ReadonlyMap<string, number>): void => void readLines.set(kept, lines);

const elementOf = (path: string): string => path.replace(/\/@[^/]*$/, '');
