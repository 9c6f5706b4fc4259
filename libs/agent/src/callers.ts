/** Who is at the other end of a connection, by the certificate that was verified, and what that makes of them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { X509Certificate } from 'node:crypto';

/** What a certificate may be for: docs/security.md says what each may call, permissions.ts by which method. */
export const roles = ['viewer', 'operator', 'controller', 'admin', 'agent'] as const;
export type Role = (typeof roles)[number];

export interface Caller {
  /** ADDRESS:PORT of the connection. */
  readonly address: string;
  /** The certificate's subject on one line, its subject alternative names, and its SHA-256; empty without TLS. */
  readonly subject: string;
  readonly names: readonly string[];
  readonly fingerprint: string;
  readonly roles: ReadonlySet<Role>;
  /** Each role, and the domains that it was given for. */
  readonly grants: readonly Grant[];
  /** The host that it speaks for as an agent. */
  readonly host: string | undefined;
}

export interface Grant {
  readonly role: Role;
  /** Names, with `*` for any characters, and UUIDs; undefined: all domains. */
  readonly domains?: readonly string[] | undefined;
}

/** What the host's own list of names gives to a certificate that has one of them. */
export interface RoleGrant extends Grant {
  readonly name: string;
  /** For an agent: its host. */
  readonly host?: string | undefined;
}

/** SPIFFE's way to name a workload; the end of the path is ours: ferry/ROLE, for agents ferry/agent/HOST. */
const roleName =
  /^spiffe:\/\/[^/]+(?:\/[^/]+)*\/ferry\/(?:(viewer|operator|controller|admin)|agent\/([A-Za-z0-9._-]+))$/;

/**
 * The subject alternative names of a certificate, as `URI:…`, `DNS:…`, `IP Address:…`. Node writes a value that could be taken for several as a JSON
 * string.
 * @internal
 */
export function alternativeNames(text: string | undefined): string[] {
  const tokens = (text ?? '').match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? [];
  return tokens.map((token) => {
    const [, kind = '', quoted] = /^\s*([^:"]+):("(?:\\.|[^"\\])*")$/.exec(token) ?? [];
    return quoted === undefined ? token.trim() : `${kind}:${String(JSON.parse(quoted))}`;
  });
}

/** The connections that are open, and who is at their other end. */
export class Callers {
  readonly #grants: readonly RoleGrant[];
  readonly #callers = new Map<string, Caller>();

  constructor(grants: readonly RoleGrant[] = []) {
    this.#grants = grants;
  }

  /** A connection from `address`, by gRPC's name of it, has shown this certificate; undefined: there is no TLS, and everybody on this host may do all. */
  opened(address: string, certificate: X509Certificate | undefined): Caller {
    const caller = certificate === undefined ? local(address) : callerOf(address, certificate, this.#grants);
    this.#callers.set(address, caller);
    return caller;
  }

  closed(address: string): void {
    this.#callers.delete(address);
  }

  /** A connection that is not known, or not any more, may do nothing. */
  of(address: string): Caller {
    return this.#callers.get(address) ?? { ...local(address), roles: new Set(), grants: [], host: undefined };
  }
}

/** Who shows this certificate, by its own names and by the host's list of names. */
export function callerOf(address: string, certificate: X509Certificate, grants: readonly RoleGrant[]): Caller {
  const subject = certificate.subject.replaceAll('\n', ', ');
  const names = alternativeNames(certificate.subjectAltName);
  const granted: Omit<RoleGrant, 'name'>[] = names.flatMap((name) => roleIn(name) ?? []);
  for (const grant of grants)
    if (grant.name === subject || names.some((name) => name === grant.name || name === `URI:${grant.name}`))
      granted.push(grant);
  return {
    address,
    subject,
    names,
    fingerprint: certificate.fingerprint256,
    roles: new Set(granted.map(({ role }) => role)),
    grants: granted,
    host: granted.find(({ role }) => role === 'agent')?.host,
  };
}

function roleIn(name: string): Omit<RoleGrant, 'name'> | undefined {
  const [found, role, host] = roleName.exec(name.replace(/^URI:/, '')) ?? [];
  if (found === undefined) return undefined;
  return role === undefined ? { role: 'agent', host } : { role: role as Role };
}

const local = (address: string): Caller => ({
  address,
  subject: '',
  names: [],
  fingerprint: '',
  roles: new Set(roles),
  grants: roles.map((role) => ({ role })),
  host: undefined,
});

/** How a caller is named to people: the name that gave a role, else the first, else the subject, else the address. */
export const nameOf = ({ names, subject, address }: Caller): string =>
  (names.find((name) => roleIn(name) !== undefined) ?? names.find((name) => name.startsWith('URI:')) ?? '').replace(
    /^URI:/,
    '',
  ) ||
  subject ||
  address;

const requesterCharsMax = 255;

const calling = new AsyncLocalStorage<Caller>();

/** Runs `body` on behalf of a caller, as far as it reaches. */
export const onBehalfOf = <T>(caller: Caller | undefined, body: () => T): T =>
  caller === undefined ? body() : calling.run(caller, body);

/** Who asks for what this runs for, as a record keeps it; "" if that is not known. */
export function requesterNow(): string {
  const caller = calling.getStore();
  return caller === undefined ? '' : nameOf(caller).slice(0, requesterCharsMax);
}

/** On whose behalf this runs; undefined: the agent's own. */
export const currentCaller = (): Caller | undefined => calling.getStore();
