import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** What the guest reads of its board is there, and agrees with the rest (qemuValidateDomainDefSysinfo, virSysinfoBIOSParseXML). */
export function checkSmbios({ uuid, sysinfo, os }: DomainDocument, findings: Findings): void {
  if (os.smbios?.mode === 'sysinfo' && !sysinfo.some((info) => info.type === 'smbios'))
    findings.report('xml-invalid', '/domain/os/smbios/@mode', 'there is no sysinfo', "Add <sysinfo type='smbios'>");
  sysinfo.forEach((info, i) => {
    if (info.type !== 'smbios') return;
    const path = pathOf('/domain', 'sysinfo', sysinfo.length, i);
    const date = info.bios?.entry.find((one) => one.name === 'date')?.value;
    if (date !== undefined && !isDate(date))
      findings.report('xml-invalid', `${path}/bios`, `its date ${date} is none`, 'Give one like 12/31/2026');
    const given = info.system?.entry.find((one) => one.name === 'uuid')?.value;
    const plain = (one: string): string => one.replaceAll('-', '').toLowerCase();
    if (given !== undefined && uuid !== undefined && plain(given) !== plain(uuid))
      findings.report(
        'xml-invalid',
        `${path}/system`,
        'its uuid is not that of the domain',
        'Make them equal, or leave it out',
      );
  });
}

/** Month, day and year, the year of two or four digits. */
function isDate(date: string): boolean {
  const [, month = 0, day = 0, year = 0] = (/^(\d{1,2})\/(\d{1,2})\/(\d{2}|\d{4})$/.exec(date) ?? []).map(Number);
  return month >= 1 && month <= 12 && day >= 1 && day <= 31 && (year < 100 || year >= 1900);
}
