/** What a document asks for and does not get on this host: said once, by whoever starts its QEMU. */
import type { Domain, XmlProblem } from '@ferry/domain-xml';
import type { Log } from './log.ts';

export function logNotes(log: Log, { uuid, name }: Pick<Domain, 'uuid' | 'name'>, notes: readonly XmlProblem[]): void {
  if (notes.length === 0) return;
  const said = notes.map(({ path, what, hint }) => `${path}: ${what}. ${hint}`);
  log.warn({ domain: uuid, domainName: name, notes: said }, 'started without all that its document asks for');
}
