import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** What the guest reads of its board is there, and agrees with the rest (qemuValidateDomainDefSysinfo, virSysinfoBIOSParseXML). */
export function checkSmbios(document: DomainDocument, findings: Findings): void {
  const { uuid = boardUuid(document), sysinfo, os } = document;
  if (os.smbios?.mode === 'sysinfo' && !sysinfo.some((info) => info.type === 'smbios'))
    findings.report('xml-invalid', '/domain/os/smbios/@mode', 'there is no sysinfo', "Add <sysinfo type='smbios'>");
  sysinfo.forEach((info, i) => {
    if (info.type !== 'smbios') return;
    const path = pathOf('/domain', 'sysinfo', sysinfo.length, i);
    const date = info.bios?.entry.find((one) => one.name === 'date')?.value;
    if (date !== undefined && !isDate(date))
      findings.report('xml-invalid', `${path}/bios`, `its date ${date} is none`, 'Give one like 12/31/2026');
    const given = uuidOf(info);
    if (given === undefined || plain(given) === plain(uuid ?? '')) return;
    const what = isUuid(given) ? 'its uuid is not that of the domain' : `its uuid ${given} is none`;
    findings.report('xml-invalid', `${path}/system`, what, 'Make them equal, or leave it out');
  });
}

/** The UUID that a document gives its board: that of a domain which has no other (virSysinfoSystemParseXML, virDomainDefParseXML). */
export function boardUuid({ sysinfo }: DomainDocument): string | undefined {
  const given = sysinfo.map(uuidOf).find((one) => one !== undefined && isUuid(one));
  return given && plain(given).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

const uuidOf = (info: DomainDocument['sysinfo'][number]): string | undefined =>
  info.type === 'smbios' ? info.system?.entry.find((one) => one.name === 'uuid')?.value : undefined;
const plain = (uuid: string): string => uuid.trim().replaceAll('-', '').toLowerCase();
const isUuid = (text: string): boolean => /^[0-9a-f]{32}$/.test(plain(text));

/** Month, day and year, the year of two or four digits. */
function isDate(date: string): boolean {
  const [, month = 0, day = 0, year = 0] = (/^(\d{1,2})\/(\d{1,2})\/(\d{2}|\d{4})$/.exec(date) ?? []).map(Number);
  return month >= 1 && month <= 12 && day >= 1 && day <= 31 && (year < 100 || year >= 1900);
}
