/** The incarnations of Redis under which a destination never commits, since it has pledged so to the source. A class, so that a test can take the guard away. */
export class FencedIncarnations extends Set<string> {
  override has(incarnation: string): boolean {
    return super.has(incarnation);
  }
}
