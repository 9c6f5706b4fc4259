/** For which domains a caller has a role, where it was not given for all: everything that a request names must be among them. */
import { type Caller, currentCaller } from './callers.ts';
import { AgentError } from './errors.ts';
import { permissions } from './permissions.ts';

export interface NamedDomain {
  /** In lower case. */
  readonly uuid: string;
  readonly name: string;
}

/** What is known of the domains that requests name. */
export interface DomainLookUp {
  /** The name that a domain has here, or else by its ownership record; undefined if neither knows it. */
  nameOf(uuid: string, signal: AbortSignal): Promise<string | undefined>;
  /** Throws what is wrong with the document. */
  inDocument(xml: string, signal: AbortSignal): Promise<NamedDomain>;
  /** Undefined if this agent knows no such migration. */
  ofMigration(names: { migrationId: string; domain: string }, signal: AbortSignal): Promise<NamedDomain | undefined>;
}

/** Domains by UUID, or by name with `*` for any characters. */
export class DomainRule {
  readonly #patterns: readonly string[];

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns;
  }

  covers({ uuid, name }: { readonly uuid?: string; readonly name?: string | undefined }): boolean {
    return this.#patterns.some((pattern) =>
      uuidPattern.test(pattern) ? pattern.toLowerCase() === uuid : name !== undefined && matches(name, pattern),
    );
  }

  toString(): string {
    const [first = '', ...more] = this.#patterns;
    return more.length === 0 ? first : `${first} and ${more.length} more`;
  }
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Each part between asterisks is looked for from the left, so the time is at most the product of both lengths. */
function matches(name: string, pattern: string): boolean {
  const [start = '', ...parts] = pattern.split('*');
  const end = parts.pop();
  if (end === undefined) return name === pattern;
  if (name.length < start.length + end.length || !name.startsWith(start) || !name.endsWith(end)) return false;
  const last = name.length - end.length;
  let from = start.length;
  for (const part of parts) {
    const at = name.indexOf(part, from);
    if (at === -1 || at + part.length > last) return false;
    from = at + part.length;
  }
  return true;
}

/**
 * Undefined: the caller may call the method for every domain. What an agent may do is decided by its host, so its role lifts no rule that another role
 * of the same certificate has.
 */
export function domainRuleOf(caller: Caller | undefined, path: string): DomainRule | undefined {
  const allowed = permissions[path] ?? [];
  const grants = caller?.grants.filter(({ role }) => role !== 'agent' && allowed.includes(role)) ?? [];
  const patterns: string[] = [];
  for (const { domains } of grants) {
    if (domains === undefined) return undefined;
    patterns.push(...domains);
  }
  return patterns.length === 0 ? undefined : new DomainRule(patterns);
}

/** What whoever calls the method now may see of these. */
export function visibleDomains<T extends { readonly uuid: string; readonly name: string }>(
  path: string,
  domains: readonly T[],
): T[] {
  const rule = domainRuleOf(currentCaller(), path);
  return domains.filter((domain) => rule?.covers(domain) ?? true);
}

/** Methods whose requests name no domain: those whose answer leaves out what the caller may not see, and those that are about no guest. */
const open: ReadonlySet<string> = new Set([
  '/ferry.v1.Domains/List',
  '/grpc.health.v1.Health/Check',
  '/grpc.health.v1.Health/Watch',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
]);

/** Throws AgentError not-allowed, which says no more of a domain than the caller has said; what is wrong with a document. */
export async function refuseOtherDomains(
  rule: DomainRule,
  path: string,
  request: unknown,
  known: DomainLookUp,
  signal: AbortSignal,
): Promise<void> {
  if (open.has(path)) return;
  const method = path.slice(path.lastIndexOf('/') + 1);
  const refuse = (what: string): never => {
    throw new AgentError(
      'not-allowed',
      `this certificate may call ${method} for the domains ${rule.toString()}, and ${what} is not known to be one of them: name a domain as that rule does, or have it changed in FERRY_ROLES`,
    );
  };
  const { domain, domainXml, migrationId } = named(request);
  if (domain === undefined && domainXml === undefined && migrationId === undefined) refuse('the whole host');
  if (domainXml !== undefined) {
    const { uuid, name } = await known.inDocument(domainXml, signal);
    const before = await known.nameOf(uuid, signal);
    if (!rule.covers({ uuid, name }) || (before !== undefined && !rule.covers({ uuid, name: before })))
      refuse(`the document’s domain ${JSON.stringify(name)}`);
  }
  if (migrationId !== undefined) {
    const found = await known.ofMigration({ migrationId, domain: domain ?? '' }, signal);
    if (found !== undefined && !rule.covers(found)) refuse(`the domain of migration ${migrationId}`);
  }
  if (domain !== undefined && !(await isCovered(rule, domain, known, signal))) refuse(JSON.stringify(domain));
}

/** A name stands for every domain that has it, so a rule for one UUID does not cover it. */
async function isCovered(
  rule: DomainRule,
  nameOrUuid: string,
  known: DomainLookUp,
  signal: AbortSignal,
): Promise<boolean> {
  if (!uuidPattern.test(nameOrUuid)) return rule.covers({ name: nameOrUuid });
  const uuid = nameOrUuid.toLowerCase();
  return rule.covers({ uuid }) || rule.covers({ uuid, name: await known.nameOf(uuid, signal) });
}

interface Named {
  readonly domain?: string;
  readonly domainXml?: string;
  readonly migrationId?: string;
}

function named(message: unknown): Named {
  const { domain, domainXml, migrationId, request } = (message ?? {}) as Record<string, unknown>;
  // One of several that a message may be.
  if (typeof request === 'object' && request !== null && 'value' in request) return named(request.value);
  return {
    ...(typeof domain === 'string' ? { domain } : {}),
    // A document that may be left out is empty, or absent.
    ...(typeof domainXml === 'string' && domainXml !== '' ? { domainXml } : {}),
    ...(typeof migrationId === 'string' ? { migrationId } : {}),
  };
}
