/** The labels that a document asks QEMU to run under, which Ferry applies nowhere: what that means on this host. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type AskedLabel, type Domain, labelsOf, type XmlProblem } from '@ferry/domain-xml';

/** What confines processes by labels on a host, by the name that documents have for it. */
export type SecurityDriver = 'selinux' | 'apparmor';

/** Which of them this kernel enforces; `root` is where its file systems are mounted. */
export async function securityDrivers(root = '/'): Promise<ReadonlySet<SecurityDriver>> {
  const [selinux, apparmor] = await Promise.all([
    stat(join(root, 'sys/fs/selinux/enforce')).then(
      () => true,
      () => false,
    ),
    readFile(join(root, 'sys/module/apparmor/parameters/enabled'), 'latin1').then(
      (text) => text.trim() === 'Y',
      () => false,
    ),
  ]);
  return new Set([...(selinux ? (['selinux'] as const) : []), ...(apparmor ? (['apparmor'] as const) : [])]);
}

/** A label that is not applied, and whether this host has the driver that would confine QEMU by it. */
export interface UnappliedLabel {
  readonly path: string;
  readonly what: string;
  readonly confines: boolean;
}

/**
 * The labels of a document. One without a model is of whichever driver the host has. Of the users and groups (`dac`) that libvirt makes up
 * for each start none confines more than the agent's own user does; one that the document names itself is asked for.
 */
export function unappliedLabels(domain: Domain, drivers: ReadonlySet<string>): UnappliedLabel[] {
  return labelsOf(domain).flatMap((label) => {
    const { type, model, path } = label;
    if (type === 'none' || model === 'none') return [];
    const what = `a ${type} label${model === undefined ? '' : ` of ${model}`}`;
    return [{ path, what, confines: confines(label, drivers) }];
  });
}

function confines({ type, model }: AskedLabel, drivers: ReadonlySet<string>): boolean {
  if (model === undefined) return drivers.size > 0;
  return model === 'dac' ? type === 'static' : drivers.has(model);
}

/** What is said of labels where the domain may run all the same: once, where it is started or checked. */
export const labelNotes = (labels: readonly UnappliedLabel[]): XmlProblem[] =>
  labels.map(({ path, what, confines: isConfining }) => ({
    path,
    line: 0,
    what: isConfining
      ? `${what} is not applied, as this host's configuration allows`
      : `${what} is kept in the document and has no effect on this host`,
    hint: "What confines QEMU here is the unit or container of the agent; <seclabel type='none'/> says so",
  }));
