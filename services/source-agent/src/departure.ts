/** What is looked at before a guest may leave, and what the destination is told of it. */
import {
  abiDifferences,
  type Domain,
  DomainXmlError,
  hasPasswords,
  withMaskedPasswords,
  writeDomainForOlderLibvirt,
} from '@ferry/domain-xml';
import type { MigrationOptions } from '@ferry/proto/ferry/v1/migration';
import type { SourceAgent } from './agent.ts';
import { asItRuns } from './as-it-runs.ts';
import { refuseUnsafe } from './safety.ts';

export interface Departure {
  /** The document that the destination shall build the guest from. */
  readonly domainXml: string;
  /** For the cookie: what that document is compared with, and what the destination need not have. */
  readonly cookie: {
    readonly domainXml: string;
    readonly missingCpuFeatures: string[];
    readonly mandatoryFeatures: string[];
  };
  /** The cookie tells a display's password: it is for the destination alone. */
  readonly hasPasswords: boolean;
}

/**
 * `altered` is the caller's document for the destination (libvirt's xmlin), if there is one. Throws MigrationError migration-unsafe;
 * DomainXmlError, `abi-mismatch` with every difference that the guest would see.
 */
export async function departure(
  agent: SourceAgent,
  domainUuid: string,
  { options, altered = '' }: { readonly options: MigrationOptions | undefined; readonly altered?: string | undefined },
  signal: AbortSignal,
): Promise<Departure> {
  const { hypervisor } = agent;
  const { domain, domainXml } = await asItRuns(agent, domainUuid, signal);
  const [{ required, ofModel }] = await Promise.all([
    hypervisor.admission.missingFeatures(domain, signal),
    refuseUnsafe(agent, domain, options, signal),
  ]);
  return {
    domainXml:
      altered === ''
        ? shownXml(domain, domainXml)
        : sameMachine(domain, await hypervisor.admission.readForElsewhere(altered, signal)),
    cookie: {
      domainXml,
      missingCpuFeatures: [...required, ...ofModel],
      mandatoryFeatures: hasPasswords(domain) ? ['display-passwords'] : [],
    },
    hasPasswords: hasPasswords(domain),
  };
}

/** A domain's document for callers: without the passwords of its displays. */
export const shownXml = (domain: Domain, xml: string): string =>
  hasPasswords(domain) ? writeDomainForOlderLibvirt(withMaskedPasswords(domain)) : xml;

/** What only the host sees may differ. */
function sameMachine(running: Domain, altered: Domain): string {
  const differences = abiDifferences(running, altered);
  if (differences.length > 0) throw new DomainXmlError('abi-mismatch', differences);
  return writeDomainForOlderLibvirt(altered);
}
