import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** What remaps the reach of devices: what each model can do, and what it needs (virDomainDefIOMMUValidate, qemuValidateDomainDeviceDefIOMMU). */
export function checkIommu({ devices: { iommu }, features }: DomainDocument, q35: boolean, findings: Findings): void {
  if (iommu === undefined) return;
  const { model, driver, address } = iommu;
  const report = (kind: 'xml-invalid' | 'xml-unsupported', below: string, what: string, hint: string) =>
    findings.report(kind, `/domain/devices/iommu${below}`, what, hint);
  if (model === 'virtio') {
    for (const name of Object.keys(driver ?? {}))
      report('xml-invalid', `/driver/@${name}`, `a virtio remapper has no ${name}`, 'Remove it');
    if (features?.acpi === undefined)
      report('xml-invalid', '/@model', 'guests learn of it by ACPI', 'Add <features><acpi/></features>');
    if (address !== undefined && address.bus > 0)
      report('xml-invalid', '/address/@bus', 'it is on the root bus', 'Leave the address out');
    return;
  }
  if (!q35) report('xml-invalid', '/@model', 'only a q35 machine has an intel remapper', "Use model='virtio'");
  if (address !== undefined)
    report('xml-invalid', '/address', 'an intel remapper is on no bus', 'Leave the address out');
  const bits = driver?.aw_bits;
  if (bits !== undefined && bits !== 39 && bits !== 48)
    report('xml-unsupported', '/driver/@aw_bits', `QEMU has no ${bits}-bit remapper`, 'Supported: 39, 48');
  if (driver?.intremap === true && features?.ioapic?.driver !== 'qemu') {
    const hint = "Add <ioapic driver='qemu'/> to <features>";
    report('xml-invalid', '/driver/@intremap', 'interrupts are remapped only where QEMU has the I/O APIC', hint);
  }
  if (driver?.eim === true && driver.intremap !== true)
    report('xml-invalid', '/driver/@eim', 'it is about remapped interrupts', "Add intremap='on'");
}
