import type { Commands } from './generated/qmp.ts';
import type { Monitor } from './monitor.ts';

/** Something that not every QEMU has. */
export interface Feature {
  readonly command: string;
  readonly argument?: string;
}

type Schema = Commands['query-qmp-schema']['returns'];

/** For each command, its arguments. */
type Features = ReadonlyMap<string, ReadonlySet<string>>;

/** Schemas kept; a host rarely has more than two QEMUs installed. */
const cachedMax = 8;
const cached: Map<string, Features> = new Map();

/** Whether the QEMU of a monitor has a feature. The same build answers the same, so it is asked once a process. */
export async function hasFeature(monitor: Monitor, feature: Feature, signal: AbortSignal): Promise<boolean> {
  const { major, minor, micro, package: build } = monitor.version;
  const key = `${major}.${minor}.${micro} ${build}`;
  const features = cached.get(key) ?? featuresOf(await monitor.execute('query-qmp-schema', {}, signal));
  if (!cached.has(key) && cached.size >= cachedMax) cached.clear();
  cached.set(key, features);
  const args = features.get(feature.command);
  return args !== undefined && (feature.argument === undefined || args.has(feature.argument));
}

function featuresOf(schema: Schema): Features {
  const entries = new Map(schema.map((entry) => [entry.name, entry]));
  const features = new Map<string, ReadonlySet<string>>();
  for (const entry of schema) {
    if (entry['meta-type'] !== 'command') continue;
    const args = new Set<string>();
    const type = entries.get(entry['arg-type']);
    if (type?.['meta-type'] === 'object') {
      for (const { name } of type.members) args.add(name);
      for (const variant of type.variants ?? []) {
        const arm = entries.get(variant.type);
        if (arm?.['meta-type'] === 'object') for (const { name } of arm.members) args.add(name);
      }
    }
    features.set(entry.name, args);
  }
  return features;
}
