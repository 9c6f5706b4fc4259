/** Which roles may call which method. A method that has no row here is refused to all, and a test fails. */
import type { Caller, Role } from './callers.ts';
import { AgentError } from './errors.ts';

const everybody: readonly Role[] = ['viewer', 'operator', 'controller', 'admin', 'agent'];
const viewing: readonly Role[] = ['viewer', 'operator', 'controller', 'admin'];
const operating: readonly Role[] = ['operator', 'controller', 'admin'];
const driving: readonly Role[] = ['controller', 'admin'];
/** What a controller calls on a destination, a source agent calls for its own migrations. */
const drivingOrAgent: readonly Role[] = ['controller', 'admin', 'agent'];
const administering: readonly Role[] = ['admin'];
const agents: readonly Role[] = ['agent'];

export const permissions: Readonly<Record<string, readonly Role[]>> = {
  '/ferry.v1.SourceAgent/Begin': driving,
  '/ferry.v1.SourceAgent/DumpXml': driving,
  '/ferry.v1.SourceAgent/Perform': driving,
  '/ferry.v1.SourceAgent/Confirm': driving,
  '/ferry.v1.SourceAgent/Migrate': operating,
  '/ferry.v1.SourceAgent/GetMigration': viewing,
  '/ferry.v1.SourceAgent/WatchMigration': viewing,
  '/ferry.v1.SourceAgent/AbortMigration': operating,
  '/ferry.v1.SourceAgent/ResolveMigration': administering,

  '/ferry.v1.DestAgent/Prepare': drivingOrAgent,
  '/ferry.v1.DestAgent/Finish': drivingOrAgent,
  '/ferry.v1.DestAgent/StandBy': drivingOrAgent,
  // The other half's failure may be the first cause.
  '/ferry.v1.DestAgent/GetMigration': everybody,
  '/ferry.v1.DestAgent/WatchMigration': viewing,
  '/ferry.v1.DestAgent/AbortMigration': ['operator', 'controller', 'admin', 'agent'],
  '/ferry.v1.DestAgent/ResolveMigration': administering,

  '/ferry.v1.SourcePeer/Ask': agents,
  '/ferry.v1.DestPeer/CheckReady': agents,
  '/ferry.v1.DestPeer/Ask': agents,

  '/ferry.v1.Domains/List': viewing,
  '/ferry.v1.Domains/Get': viewing,
  '/ferry.v1.Domains/Where': viewing,
  '/ferry.v1.Domains/History': viewing,
  '/ferry.v1.Domains/Check': operating,
  '/ferry.v1.Domains/Start': operating,
  '/ferry.v1.Domains/Suspend': operating,
  '/ferry.v1.Domains/Resume': operating,
  '/ferry.v1.Domains/Shutdown': operating,
  '/ferry.v1.Domains/Destroy': administering,
  '/ferry.v1.Domains/Adopt': administering,
  '/ferry.v1.Domains/Forget': administering,
  '/ferry.v1.Domains/ForgetHost': administering,

  '/grpc.health.v1.Health/Check': everybody,
  '/grpc.health.v1.Health/Watch': everybody,
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': everybody,
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': everybody,
};

/** Throws AgentError not-allowed that names what the certificate lacks. */
export function refuseUnlessAllowed(caller: Caller, path: string): void {
  const allowed = permissions[path] ?? [];
  if (allowed.some((role) => caller.roles.has(role))) return;
  const has = caller.roles.size === 0 ? 'no role' : `the role ${[...caller.roles].join(', ')}`;
  const needs = allowed.length === 0 ? 'which nobody may call' : `which is for ${allowed.join(', ')}`;
  const name = path.slice(path.lastIndexOf('/') + 1);
  throw new AgentError(
    'not-allowed',
    `this certificate has ${has}, and calls ${name}, ${needs}: issue one with the subject alternative name URI:spiffe://DOMAIN/ferry/ROLE, or list its name in FERRY_ROLES`,
  );
}

/** Whether it is known without a proof that `host`'s agent says it: this agent itself, that host's, or whoever reaches an agent without TLS. */
export const speaksFor = (caller: Caller | undefined, host: string): boolean =>
  caller === undefined || caller.fingerprint === '' || (host !== '' && caller.host === host);

/**
 * An agent speaks for its own host alone: about migrations in which that takes part. `peer` is the other host of the migration, "" while this side does
 * not know it. Throws AgentError not-allowed.
 */
export function refuseForeignAgent(caller: Caller | undefined, peer: string, migrationId: string): void {
  if (caller === undefined || caller.host === undefined || peer === '' || caller.host === peer) return;
  if (caller.grants.some(({ role, domains }) => driving.includes(role) && domains === undefined)) return;
  throw new AgentError(
    'not-allowed',
    `this is the certificate of host ${caller.host}’s agent, and migration ${migrationId} is with host ${peer}`,
  );
}
