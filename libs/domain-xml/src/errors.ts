/** Why a document cannot be used. */
export type DomainXmlErrorKind =
  /** It is not well-formed XML, too large, too deep, or has a DTD or entities. */
  | 'xml-malformed'
  /** It has elements, attributes or values that Ferry does not support. */
  | 'xml-unsupported'
  /** A value is wrong: a name with a comma, a path with `..`, an address used twice. */
  | 'xml-invalid'
  /** Two documents describe different machines. */
  | 'abi-mismatch';

/** One thing that is wrong with a document. */
export interface XmlProblem {
  /** Where, e.g. `/domain/devices/disk[2]/driver/@io`. */
  readonly path: string;
  /** 1-based line in the document as given; 0 if unknown. */
  readonly line: number;
  readonly what: string;
  /** What would help. */
  readonly hint: string;
}

/** The one class that this package throws; reports every problem found, not just the first. */
export class DomainXmlError extends Error {
  override readonly name = 'DomainXmlError';
  readonly kind: DomainXmlErrorKind;
  readonly problems: readonly XmlProblem[];

  constructor(kind: DomainXmlErrorKind, problems: readonly XmlProblem[], options?: ErrorOptions) {
    super(
      problems.map((p) => `${p.path}${p.line === 0 ? '' : ` (line ${p.line})`}: ${p.what}. ${p.hint}`).join('\n'),
      options,
    );
    this.kind = kind;
    this.problems = problems;
  }
}
