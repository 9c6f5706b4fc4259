/** Reads FERRY_NETWORKS: which of the host's bridges domains name as which network. */

/** What is wrong with it, in words that follow the variable's name. */
export class NetworksError extends Error {
  override readonly name = 'NetworksError';
}

/** A network, or a port group of one. A name with a comma cannot be written, and the library refuses documents that have one. */
const key = /^(?! )[^\p{Cc}\p{Cs}/,]{1,127}(\/[^\p{Cc}\p{Cs},]{1,127})?(?<! )$/u;
const bridge = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;

/** `default=virbr0,lan/guests=br1`: NETWORK or NETWORK/PORTGROUP, and its bridge. Throws NetworksError. */
export function parseNetworks(text: string): ReadonlyMap<string, string> {
  const networks = new Map<string, string>();
  for (const entry of text.split(',')) {
    // A bridge has no = in its name, a network may.
    const at = entry.lastIndexOf('=');
    const [network, device] = [entry.slice(0, Math.max(0, at)), entry.slice(at + 1)];
    if (!key.test(network) || !bridge.test(device)) {
      const wanted = 'must be NETWORK=BRIDGE or NETWORK/PORTGROUP=BRIDGE, separated by commas';
      throw new NetworksError(`${wanted}; ${JSON.stringify(entry)} is not`);
    }
    if (networks.has(network)) throw new NetworksError(`names ${JSON.stringify(network)} twice`);
    networks.set(network, device);
  }
  return networks;
}
