import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** A machine without a PS/2 controller has nothing that is on it (qemuValidateDomainDefPS2…). */
export function checkPs2({ features, devices: { input } }: DomainDocument, findings: Findings): void {
  if (features?.ps2?.state !== false) return;
  const hint = "Remove it, or <ps2 state='off'/>";
  if (features.vmport?.state === true)
    findings.report('xml-invalid', '/domain/features/vmport/@state', "VMware's port moves a PS/2 mouse", hint);
  input.forEach(({ bus, type }, i) => {
    if ((bus ?? (type === 'tablet' ? 'usb' : 'ps2')) !== 'ps2') return;
    const path = pathOf('/domain/devices', 'input', input.length, i);
    findings.report('xml-invalid', path, 'PS/2 is switched off', hint);
  });
}
