/** Whether a domain could run on this host, and be moved from or to it, without starting anything. */
import { DomainXmlError } from '@ferry/domain-xml';
import { HypervisorError } from '@ferry/hypervisor';
import { type Finding, Prevents } from '@ferry/proto/ferry/v1/domains';
import type { SourceAgent } from './agent.ts';

const { PREVENTS_RUNNING, PREVENTS_SAFE_MIGRATION, PREVENTS_NOTHING } = Prevents;

/** Everything that is in the way, of which Start and Prepare would name the first. */
export async function check(agent: SourceAgent, domainXml: string, signal: AbortSignal): Promise<Finding[]> {
  const { hypervisor } = agent;
  let domain;
  try {
    domain = await hypervisor.readGiven(domainXml, signal);
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    const { kind: reason, problems } = error;
    return problems.map((problem) => ({ prevents: PREVENTS_RUNNING, reason, ...problem }));
  }
  const [known, problems, cpu, hazards, notes] = await Promise.all([
    hypervisor.known(domain),
    hypervisor.admission.problems(domain),
    hypervisor.admission.cpuProblem(domain, signal).catch(hostError),
    hypervisor.admission.hazards(domain),
    hypervisor.admission.notes(domain),
  ]);
  const missing = cpu === undefined ? (await hypervisor.admission.missingFeatures(domain, signal)).ofModel : [];
  return [
    ...[known, ...problems, cpu].filter((problem) => problem !== undefined).map(ofHost),
    ...hazards.map((hazard) => ({ prevents: PREVENTS_SAFE_MIGRATION, reason: 'migration-unsafe', ...hazard })),
    ...notes.map((note) => ({ prevents: PREVENTS_NOTHING, reason: 'host-exposed', ...note })),
    ...(missing.length === 0 ? [] : [unchecked(missing)]),
  ];
}

/** A host that cannot do something says so in its own words. */
function hostError(error: unknown): HypervisorError {
  if (error instanceof HypervisorError) return error;
  throw error;
}

/** Its message says what helps, too. */
function ofHost({ kind, message }: HypervisorError): Finding {
  const [what = message, hint = ''] = message.split(/[:;] (?=[a-z ]+[^:;]*$)/);
  const sentence = hint.charAt(0).toUpperCase() + hint.slice(1);
  return { prevents: PREVENTS_RUNNING, reason: kind, path: '', line: 0, what, hint: sentence };
}

const unchecked = (missing: readonly string[]): Finding => ({
  prevents: PREVENTS_NOTHING,
  reason: 'cpu-unsupported',
  path: '/domain/cpu/model',
  line: 0,
  what: `the guest would run without features of its model: ${missing.join(', ')}`,
  hint: "With check='full' this is refused; a guest that comes from a host that has them is refused in any case",
});
