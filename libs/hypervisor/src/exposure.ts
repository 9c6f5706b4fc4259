/** What a document would open on this host, or reach through it, that is nobody's by the document alone. */
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { Domain } from '@ferry/domain-xml';
import { HypervisorError } from './errors.ts';
import type { UnappliedLabel } from './security-labels.ts';

/** What the host's configuration may allow. */
export const exposures = [
  'open-displays',
  'host-services',
  'unapplied-labels',
  'unapplied-limits',
  'unapplied-filters',
] as const;
export type Exposure = (typeof exposures)[number];

type Devices = Domain['document']['devices'];
type Graphics = Devices['graphics'][number];

const everywhere: ReadonlySet<string> = new Set(['0.0.0.0', '::', '*']);
/** Names are resolved for so long, ms; one that cannot be is none of this host's for QEMU either. */
const lookUpMs = 2_000;

/**
 * A display on all addresses, which anybody may try (a password is no more than eight letters to VNC, and nothing encrypts what follows), and a character device that connects to a service of this host's
 * own: Redis, an agent, another guest's; and a label that would confine QEMU here, which Ferry does not apply. Each unless the host allows it.
 */
export async function exposureProblems(
  domain: Domain,
  allowed: ReadonlySet<string>,
  labels: readonly UnappliedLabel[],
): Promise<HypervisorError[]> {
  const { devices } = domain.document;
  const problem = (what: string, exposure: Exposure, instead: string): HypervisorError =>
    new HypervisorError(
      'host-exposed',
      `domain ${domain.name} ${what}, which this host does not allow: ${instead}, or add ${exposure} to FERRY_ALLOW there and start its agents anew`,
    );
  const problems: HypervisorError[] = [];
  for (const one of allowed.has('open-displays') ? [] : devices.graphics) {
    const open = addressesOf(one).find((address) => everywhere.has(address));
    if (open !== undefined)
      problems.push(
        problem(`has a ${one.type} display on all addresses (${open})`, 'open-displays', 'listen on one address'),
      );
  }
  for (const { what } of allowed.has('unapplied-labels') ? [] : labels.filter(({ confines }) => confines)) {
    const instead = "give it <seclabel type='none'/>";
    problems.push(problem(`asks for ${what}, and Ferry labels no QEMU`, 'unapplied-labels', instead));
  }
  if (allowed.has('host-services')) return problems;
  const hosts = new Set(connectedHosts(devices));
  for (const host of hosts)
    if (await isThisHost(host))
      problems.push(
        problem(`connects to a service of this host’s own (${host})`, 'host-services', 'use a socket or a pty'),
      );
  return problems;
}

function addressesOf(one: Graphics): string[] {
  if (!('listen' in one)) return [];
  const listening = one.listen.flatMap((each) => (each.type === 'address' ? [each.address ?? ''] : []));
  return [one.listenAddress ?? '', ...listening];
}

/** Where character devices send to, or connect to. */
function connectedHosts({ serial, parallel, console: consoles, channel, redirdev }: Devices): string[] {
  return [...serial, ...parallel, ...consoles, ...channel, ...redirdev].flatMap((port) => {
    if (port.type === 'tcp') return port.source.mode === 'connect' ? [port.source.host] : [];
    if (port.type !== 'udp') return [];
    return port.source.flatMap(({ mode, host }) => (mode === 'connect' ? [host ?? 'localhost'] : []));
  });
}

async function isThisHost(host: string): Promise<boolean> {
  const own = Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => address),
  );
  const late = AbortSignal.timeout(lookUpMs);
  const { promise, resolve } = Promise.withResolvers<{ address: string }[]>();
  late.addEventListener('abort', () => resolve([]), { once: true });
  const found = await Promise.race([lookup(host, { all: true }).catch(() => []), promise]);
  return found.some(({ address }) => isLocal(address) || own.includes(address));
}

const isLocal = (address: string): boolean =>
  /^(127\.|0\.|::ffff:127\.|::ffff:0\.)/.test(address) || address === '::1' || address === '::';
