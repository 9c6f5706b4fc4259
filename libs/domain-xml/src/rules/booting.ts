import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import { chooseFirmware } from '../complete/firmware.ts';
import { isQ35 } from '../machines.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** Boot order is given once: by the devices or by `<os>`. */
export function checkBooting(document: DomainDocument, findings: Findings): void {
  const { os, features, devices } = document;
  const hasSerial = devices.serial.length > 0 || devices.console.some((one) => one.target?.type !== 'virtio');
  if (os.bios?.useserial === true && !hasSerial)
    findings.report('xml-invalid', '/domain/os/bios/@useserial', 'there is no serial port', 'Add <serial>');
  const ordered = (['disk', 'interface', 'redirdev'] as const).flatMap((key) =>
    devices[key].flatMap(({ boot }, i) => {
      const path = `${pathOf('/domain/devices', key, devices[key].length, i)}/boot/@order`;
      return boot === undefined ? [] : [{ order: boot.order, path }];
    }),
  );
  if (ordered.length > 0 && os.boot.length > 0) {
    findings.report('xml-invalid', '/domain/os/boot', 'devices have a boot order too', 'Give one of the two');
  }
  ordered.forEach(({ order, path }, i) => {
    if (ordered.findIndex((one) => one.order === order) < i)
      findings.report('xml-invalid', path, `two devices have boot order ${order}`, 'Number them differently');
  });
  const firmware = chooseFirmware(document);
  if (firmware !== undefined && 'what' in firmware)
    findings.report('xml-unsupported', `/domain/os${firmware.below}`, firmware.what, 'Name it: <loader> and <nvram>');
  checkFirmware(os, features, findings);
  const kinds = os.boot.map(({ dev }) => dev);
  if (new Set(kinds).size < kinds.length) {
    findings.report('xml-invalid', '/domain/os/boot', 'a kind of device is given twice', 'Give each once');
  }
}

/** What guards firmware from the guest is the chipset's (qemuValidateDomainDefBoot, qemuValidateDomainDefFeatures). */
function checkFirmware(os: DomainDocument['os'], features: DomainDocument['features'], findings: Findings): void {
  const q35 = isQ35(os.type.machine ?? 'pc');
  if (features?.smm?.tseg !== undefined && !q35)
    findings.report('xml-invalid', '/domain/features/smm/tseg', 'only a q35 machine has it', 'Remove it');
  if (features?.smm?.tseg !== undefined && features.smm.tseg % 1024 !== 0)
    findings.report('xml-invalid', '/domain/features/smm/tseg', 'it is not in whole MiB', 'Round it up');
  // qemuValidateDomainDefBoot: what such firmware tells the guest, it tells by ACPI.
  if (os.loader?.type === 'pflash' && features?.acpi === undefined)
    findings.report('xml-invalid', '/domain/os/loader/@type', 'UEFI needs ACPI', 'Add <features><acpi/></features>');
  if (os.loader?.secure !== true) return;
  if (!q35)
    findings.report('xml-invalid', '/domain/os/loader/@secure', 'only a q35 machine has it', 'Use a q35 machine');
  else if (features?.smm === undefined || features.smm.state === false)
    findings.report('xml-invalid', '/domain/os/loader/@secure', 'it needs SMM', "Add <smm state='on'/> to <features>");
}
