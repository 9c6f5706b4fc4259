import { pathOf } from './codec/element-codec.ts';
import type { Domain } from './domain.ts';
import type { SourceLabel } from './vocabulary/seclabel.ts';

/** A label that a document asks for, and where. */
export interface AskedLabel {
  readonly path: string;
  /** Of QEMU as a whole, made up by libvirt (`dynamic`) or given; of a file or socket that it opens. */
  readonly type: 'none' | 'dynamic' | 'static' | 'device';
  readonly model: string | undefined;
}

/** All of them. */
export function labelsOf({ document: { seclabel, devices } }: Pick<Domain, 'document'>): AskedLabel[] {
  const own = seclabel.map(({ type, model }, i) => {
    return { path: pathOf('/domain', 'seclabel', seclabel.length, i), type, model };
  });
  const ofFiles = sourceLabelsIn(devices, '/domain/devices').flatMap(({ path, label }) =>
    label.relabel === 'no' || label.label === undefined ? [] : [{ path, type: 'device' as const, model: label.model }],
  );
  return [...own, ...ofFiles];
}

/** Those of files and sockets, wherever below a device they are. */
export function sourceLabelsIn(value: unknown, path: string): { readonly path: string; readonly label: SourceLabel }[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, below]: [string, unknown]) => {
    if (!Array.isArray(below)) return sourceLabelsIn(below, `${path}/${key}`);
    const list: readonly unknown[] = below;
    const at = (i: number) => pathOf(path, key, list.length, i);
    if (key === 'seclabel') return list.map((label, i) => ({ path: at(i), label: label as SourceLabel }));
    return list.flatMap((one, i) => sourceLabelsIn(one, at(i)));
  });
}
