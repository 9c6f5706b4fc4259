import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Devices } from '../vocabulary/devices.ts';

/** What virtio devices have in common, as far as this rule looks. */
interface Virtio {
  readonly bus?: string;
  readonly driver?: { readonly iommu?: boolean };
  readonly model?: string | { readonly type?: string };
}

/** In a conventional slot a virtio device is transitional, and old drivers know nothing of a remapper. */
export function checkVirtio(devices: Devices, q35: boolean, findings: Findings): void {
  if (q35) return;
  for (const key of ['disk', 'controller', 'filesystem', 'interface', 'input', 'rng', 'crypto'] as const) {
    const list: readonly object[] = devices[key];
    list.forEach((one, i) => check(one, pathOf('/domain/devices', key, list.length, i), findings));
  }
  if (devices.memballoon !== undefined) check(devices.memballoon, '/domain/devices/memballoon', findings);
}

function check({ bus, driver, model }: Virtio, path: string, findings: Findings): void {
  const presents = typeof model === 'object' ? model.type : model;
  if (bus !== undefined && bus !== 'virtio') return;
  if (driver?.iommu !== true || presents === 'virtio-non-transitional') return;
  const what = 'a transitional virtio device cannot be behind a remapper';
  findings.report('xml-invalid', `${path}/driver/@iommu`, what, "Use model='virtio-non-transitional'");
}
