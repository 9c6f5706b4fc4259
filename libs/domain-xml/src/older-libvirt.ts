import type { XmlOut } from './xml/write.ts';

/**
 * Leaves out what completing fills in by itself and libvirt 9.0 (Debian 12) does not know yet, so that its schema and its users accept the
 * document: the watchdog that every q35 chipset has (9.1), and that there is one cluster (10.1). Completing it again gives the same domain.
 */
export function forOlderLibvirt(domain: XmlOut): XmlOut {
  const withOlderCpu = withChild(domain, 'cpu', (cpu) => withChild(cpu, 'topology', withoutCluster));
  return withChild(withOlderCpu, 'devices', withoutImpliedWatchdog);
}

function withoutImpliedWatchdog(devices: XmlOut): XmlOut {
  const dogs = devices.children.filter(({ name }) => name === 'watchdog');
  const last = dogs.at(-1);
  const [first] = dogs;
  if (last === undefined || first === undefined) return devices;
  // As addImpliedDevices makes it: after the others, doing what the first of them does.
  const action = dogs.length === 1 ? 'reset' : attributeOf(first, 'action');
  const implied = attributeOf(last, 'model') === 'itco' && attributeOf(last, 'action') === action;
  const plain = last.children.every(
    (child) => child.name === 'alias' && attributeOf(child, 'name') === `watchdog${dogs.length - 1}`,
  );
  if (!implied || !plain) return devices;
  return { ...devices, children: devices.children.filter((child) => child !== last) };
}

const withoutCluster = (topology: XmlOut): XmlOut => ({
  ...topology,
  attributes: topology.attributes.filter(([name, value]) => name !== 'clusters' || value !== '1'),
});

const attributeOf = ({ attributes }: XmlOut, wanted: string): string | undefined =>
  attributes.find(([name]) => name === wanted)?.[1];

const withChild = (parent: XmlOut, name: string, change: (child: XmlOut) => XmlOut): XmlOut => ({
  ...parent,
  children: parent.children.map((child) => (child.name === name ? change(child) : child)),
});
