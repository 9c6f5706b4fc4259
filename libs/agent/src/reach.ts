/** Whether an address that another agent has given can lead there from here, as far as names tell: before anything depends on it. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { failureFromWire, isLoopback, parseHostPort } from '@ferry/rpc';

/** The addresses of a host. Throws what is wrong with its name. */
export type LookUp = (host: string) => Promise<readonly string[]>;

export const systemLookUp: LookUp = async (host) =>
  isIP(host) === 0 ? (await lookup(host, { all: true })).map(({ address }) => address) : [host];

/** A resolver that has not answered by then tries servers that do not, ms. */
const lookUpMsMax = 3_000;

/**
 * Why `host` cannot be reached from here; undefined if nothing speaks against it. `own` is this agent's address: where that is on loopback, so may the
 * others' be.
 */
export async function reachProblem(
  lookUp: LookUp,
  host: string,
  own: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const over = new AbortController();
  const late = delay(lookUpMsMax, undefined, { signal: AbortSignal.any([signal, over.signal]) });
  late.catch(() => undefined);
  let addresses: readonly string[] | undefined;
  try {
    addresses = await Promise.race([lookUp(host), late]);
  } catch (error) {
    signal.throwIfAborted();
    return `this host cannot resolve the name ${host} (${error instanceof Error ? error.message : String(error)})`;
  } finally {
    over.abort();
  }
  if (addresses === undefined) return `this host’s resolver gives no address of ${host} within ${lookUpMsMax} ms`;
  const ownHost = parseHostPort(own)?.host ?? own;
  if (ownHost === host || isLoopback(ownHost) || addresses.length === 0 || !addresses.every(isLoopback))
    return undefined;
  return `${host} is a loopback address (${addresses.join(', ')}), which leads nowhere but here`;
}

/** gRPC found nobody there; an agent's own error has a reason. */
export const isUnconnected = (error: unknown): error is Error =>
  error instanceof Error &&
  'code' in error &&
  error.code === status.UNAVAILABLE &&
  failureFromWire(error) === undefined;
