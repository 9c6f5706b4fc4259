/** One migration, as far as it was said and done. */
export class Handover {
  readonly id: string;
  /** The source's vote is out of its hands. */
  voted = false;
  /** Lives of the register under which it was decided so. */
  readonly committed = new Set<string>();
  readonly aborted = new Set<string>();
  /** A person has said that the destination's copy goes on. */
  committedByWord = false;
  /** The source, which had voted, has said that its copy has ended: the destination commits by that. */
  leftToDest = false;
  /** The destination has asked for the commit: what ends from then on it could not see before. */
  commitSent = false;
  /** That commit may be granted still: it was not refused since, and not withdrawn. */
  commitUnderWay = false;

  constructor(id: string) {
    this.id = id;
  }

  get isCommitted(): boolean {
    return this.committed.size > 0 || this.committedByWord || this.leftToDest;
  }
}
