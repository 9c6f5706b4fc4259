/** Displays that listen where a network of the host is: on the address of its bridge. */
import { networkInterfaces } from 'node:os';
import { type Domain, listenNetworksOf, type Networks, withListenAddresses } from '@ferry/domain-xml';
import { HypervisorError } from './errors.ts';

/** The first address of a device, IPv4 before IPv6, as libvirt takes it (networkGetNetworkAddress). */
function addressOf(device: string | undefined): string | undefined {
  const own = (device === undefined ? undefined : networkInterfaces()[device]) ?? [];
  return (own.find(({ family }) => family === 'IPv4') ?? own.find(({ scopeid }) => (scopeid ?? 0) === 0))?.address;
}

/** What is wrong with the networks that displays listen on; that one is not known is told of all networks (networkProblems). */
export function listenProblems(domain: Domain, networks: Networks): HypervisorError[] {
  return listenNetworksOf(domain).flatMap(({ network, path }) => {
    const bridge = networks.get(network);
    if (bridge === undefined || addressOf(bridge) !== undefined) return [];
    const message = `a display of domain ${domain.name} listens on network ${JSON.stringify(network)} (${path}), whose bridge ${bridge} has no address on this host: give it one, or name an address`;
    return [new HypervisorError('network-missing', message)];
  });
}

/** The domain as this host's QEMU is told it. */
export const listeningHere = (domain: Domain, networks: Networks): Domain =>
  withListenAddresses(domain, (network) => addressOf(networks.get(network)));
