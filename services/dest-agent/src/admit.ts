/** Whether the guest can go on here as it ran there: the same machine, and all that its CPU has. */
import { abiDifferences, type Domain, DomainXmlError } from '@ferry/domain-xml';
import type { Cookie } from '@ferry/proto/ferry/v1/cookie';
import type { DestAgent } from './agent.ts';

/**
 * `cookie` is Begin's; v2 has none, and is believed about the machine. Throws DomainXmlError abi-mismatch with every difference,
 * HypervisorError cpu-unsupported with every feature that the guest would lose.
 */
export async function admit(
  agent: DestAgent,
  domain: Domain,
  domainXml: string,
  cookie: Cookie | undefined,
  signal: AbortSignal,
): Promise<void> {
  await refuseOtherMachine(agent, domain, domainXml, cookie?.domainXml ?? '', signal);
  const { admission } = agent.hypervisor;
  const problem = await admission.incomingCpuProblem(domain, cookie?.missingCpuFeatures, signal);
  if (problem !== undefined) throw problem;
}

/** Most callers pass on what Begin gave, letter for letter: then there is nothing to compare. */
async function refuseOtherMachine(
  agent: DestAgent,
  domain: Domain,
  given: string,
  running: string,
  signal: AbortSignal,
): Promise<void> {
  if (running === '' || running === given) return;
  const differences = abiDifferences(await agent.hypervisor.admission.readForElsewhere(running, signal), domain);
  if (differences.length > 0) throw new DomainXmlError('abi-mismatch', differences);
}
