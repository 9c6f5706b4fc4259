import type { Domain } from './domain.ts';
import { document } from './vocabulary/domain.ts';
import { writeXml } from './xml/write.ts';

/** The document of a domain, laid out as libvirt does; reading it gives the same domain. */
export function writeDomain(domain: Domain): string {
  const out = document.encode('domain', domain.document, false);
  const namespaces = Object.entries(domain.kept.namespaces).map(
    ([prefix, uri]) => [prefix === '' ? 'xmlns' : `xmlns:${prefix}`, uri] as const,
  );
  const kept = domain.kept.elements.map(({ name, source }) => ({ name, attributes: [], children: [], source }));
  const isMetadata = (element: { readonly name: string }) => element.name === 'metadata';
  // Where libvirt puts them: metadata after the description, foreign elements last.
  const at = out.children.findIndex((element) => element.name === 'memory');
  return writeXml({
    ...out,
    attributes: [...out.attributes, ...namespaces],
    children: [
      ...out.children.slice(0, at),
      ...kept.filter(isMetadata),
      ...out.children.slice(at),
      ...kept.filter((element) => !isMetadata(element)),
    ],
  });
}
