import { describe, expect, it } from '@jest/globals';
import { parseDomain } from '../parse.ts';
import { DomainXmlError } from '../errors.ts';
import { refusalsOf } from '../testing/refusals.ts';

const acpi = '<features><acpi/></features>';
const features = (inner: string) => `<features><acpi/>${inner}</features>`;
const cpu = (attributes: string, inner: string) => `<cpu ${attributes}>${inner}</cpu>`;

describe('a machine', () => {
  it.each([
    [features("<smm state='on'><tseg unit='KiB'>1025</tseg></smm>"), 'features/smm/tseg it is not in whole MiB'],
    [features("<hyperv><vendor_id state='on'/></hyperv>"), 'features/hyperv/vendor_id attribute value is missing'],
    [features("<ps2 state='off'/><vmport state='on'/>"), "features/vmport/@state VMware's port moves a PS/2 mouse"],
    ["<clock><timer name='rtc'/><timer name='rtc'/></clock>", 'clock/timer[2]/@name rtc is given twice'],
    [cpu('', "<feature name='svm' policy='disable'/>"), 'cpu its features are of no model'],
    [cpu('', "<model>qemu64</model><cache level='1' mode='disable'/>"), 'cpu/cache/@level it is about all levels'],
    [
      cpu('', "<model>qemu64</model><maxphysaddr mode='passthrough'/>"),
      'cpu/maxphysaddr/@mode this CPU has not the addresses of the host',
    ],
    [
      cpu("mode='maximum'", "<maxphysaddr mode='passthrough' bits='40'/>"),
      'cpu/maxphysaddr/@bits mode passthrough has no bits',
    ],
    [cpu("migratable='off'", '<model>qemu64</model>'), 'cpu/@migratable attribute migratable is not supported'],
    [
      "<sysinfo type='smbios'><bios><entry name='date'>13/1/2026</entry></bios></sysinfo>",
      'sysinfo/bios its date 13/1/2026 is none',
    ],
  ])('is refused with %s', (more, problem) =>
    expect(refusalsOf('', { machine: 'q35', more })).toEqual([`/domain/${problem}`]),
  );

  it('without PS/2 has no mouse there', () => {
    const more = features("<ps2 state='off'/>");
    expect(refusalsOf("<input type='mouse' bus='ps2'/>", { more })).toEqual(['/input PS/2 is switched off']);
    expect(refusalsOf("<input type='mouse' bus='usb'/>", { more })).toEqual([]);
  });

  it('may have what libvirt writes of it', () => {
    const date = "<sysinfo type='smbios'><bios><entry name='date'>1/31/99</entry></bios></sysinfo>";
    expect(refusalsOf('', { more: `${date}${cpu("mode='maximum' migratable='off'", '')}` })).toEqual([]);
  });
});

describe('firmware', () => {
  const refusalOf = (os: string, more = acpi) => {
    try {
      parseDomain(
        `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='q35'>hvm</type>${os}</os>${more}</domain>`,
        { allowedRoots: ['/'], maxBytes: 1024 },
      );
      return [];
    } catch (error) {
      if (error instanceof DomainXmlError) return error.problems.map(({ path, what }) => `${path} ${what}`);
      throw error;
    }
  };

  it.each([
    ["<loader type='rom' stateless='no'>/a</loader>", '/domain/os/loader/@stateless ROM keeps no state'],
    ["<loader readonly='no'>/a</loader>", '/domain/os/loader/@readonly ROM cannot be written to'],
    ["<loader type='rom' format='qcow2'>/a</loader>", '/domain/os/loader/@format ROM is a raw image'],
    [
      "<loader type='pflash' readonly='yes' stateless='yes'>/a</loader><nvram>/b</nvram>",
      '/domain/os/nvram this loader keeps no variables',
    ],
    [
      "<loader type='pflash' readonly='no'>/a</loader><nvram>/b</nvram>",
      '/domain/os/nvram this loader is its own variable store',
    ],
    ["<smbios mode='sysinfo'/>", '/domain/os/smbios/@mode there is no sysinfo'],
    ["<bios useserial='yes'/>", '/domain/os/bios/@useserial there is no serial port'],
  ])('is refused: %s', (os, problem) => expect(refusalOf(os)).toEqual([problem]));

  it('of UEFI needs ACPI', () => {
    const os = "<loader type='pflash' readonly='yes'>/a</loader>";
    expect(refusalOf(os)).toEqual([]);
    expect(refusalOf(os, '')).toEqual(['/domain/os/loader/@type UEFI needs ACPI']);
  });
});
