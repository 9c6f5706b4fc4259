/** Documents as the hosts read them, and what QEMU makes of them; parsed once, since a document is the same in every schedule. */
import { completeDomain, deviceIds, type Domain, parseDomain } from '@ferry/domain-xml';

interface Known {
  readonly domain: Domain;
  /** What `qom-list` gives of /machine/peripheral. */
  readonly devices: readonly { readonly name: string; readonly type: string }[];
}

const documents = new Map<string, Known>();

function known(xml: string): Known {
  const before = documents.get(xml);
  if (before !== undefined) return before;
  const domain = completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 2 ** 20 }), {
    machineAliases: { q35: 'pc-q35-7.2' },
  });
  const devices = [...deviceIds(domain).ids].map((name) => ({ name, type: 'child<device>' }));
  documents.set(xml, { domain, devices });
  return { domain, devices };
}

export const domainIn = (xml: string): Domain => known(xml).domain;
export const devicesIn = (xml: string): Known['devices'] => known(xml).devices;
