import type { Domain } from './domain.ts';
import { forOlderLibvirt } from './older-libvirt.ts';
import { document } from './vocabulary/domain.ts';
import { writeXml, type XmlOut } from './xml/write.ts';

/** The document of a domain, laid out as libvirt does; reading it gives the same domain. */
export function writeDomain(domain: Domain): string {
  return write(domain, document.encode('domain', domain.document, false));
}

/** Likewise, such that older libvirts accept it too; reading and completing it gives the same domain. */
export function writeDomainForOlderLibvirt(domain: Domain): string {
  return write(domain, forOlderLibvirt(document.encode('domain', domain.document, false)));
}

function write(domain: Domain, out: XmlOut): string {
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
