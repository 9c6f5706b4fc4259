import { describe, expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { DomainXmlError } from '../errors.ts';
import { parseDomain } from '../parse.ts';
import { writeDomain } from '../write.ts';

const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const completed = (os: string, machine = 'pc-q35-7.2', features = '') =>
  completeDomain(
    parseDomain(
      `<domain type='kvm'><name>a b</name><memory>65536</memory><os firmware='efi'><type machine='${machine}'>hvm</type>${os}</os>
        <features><acpi/>${features}</features><devices/></domain>`,
      policy,
    ),
    { machineAliases: {} },
  );
const off = "<firmware><feature enabled='no' name='secure-boot'/></firmware>";
const noKeys = "<firmware><feature enabled='no' name='enrolled-keys'/></firmware>";

describe('UEFI firmware that is not named', () => {
  it.each([
    ['with keys, on a q35', completed(''), 'CODE_4M.ms.fd', 'VARS_4M.ms.fd', true],
    ['without keys', completed(noKeys), 'CODE_4M.secboot.fd', 'VARS_4M.fd', true],
    [
      'that begins with variables without keys',
      completed("<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>"),
      'CODE_4M.secboot.fd',
      'VARS_4M.fd',
      true,
    ],
    ['that boots anything', completed(off), 'CODE_4M.fd', 'VARS_4M.fd', false],
    ['that is not guarded', completed("<loader secure='no'/>"), 'CODE_4M.fd', 'VARS_4M.fd', false],
    ['of a machine without SMM', completed('', 'pc-q35-7.2', "<smm state='off'/>"), 'CODE_4M.fd', 'VARS_4M.fd', false],
    ['of a pc', completed('', 'pc-i440fx-7.2'), 'CODE_4M.fd', 'VARS_4M.fd', false],
  ])('is the one %s', (_, domain, code, variables, isSecure) => {
    const { os, features } = domain.document;
    expect(os.loader).toMatchObject({ type: 'pflash', readonly: true, path: `/usr/share/OVMF/OVMF_${code}` });
    expect(os.nvram).toEqual({
      template: `/usr/share/OVMF/OVMF_${variables}`,
      templateFormat: 'raw',
      format: 'raw',
      path: '/var/lib/libvirt/qemu/nvram/a b_VARS.fd',
    });
    expect([features?.smm?.state ?? false, os.loader?.secure ?? false]).toEqual([isSecure, isSecure]);
    expect(completeDomain(parseDomain(writeDomain(domain), policy), { machineAliases: {} })).toEqual(domain);
  });

  it.each([
    ["<loader type='rom'/>", '/domain/os/loader/@type'],
    ["<loader readonly='no'/>", '/domain/os/loader/@readonly'],
    ["<loader stateless='yes'/>", '/domain/os/loader/@stateless'],
    ["<loader format='qcow2'/>", '/domain/os/loader/@format'],
    ["<nvram format='qcow2'/>", '/domain/os/nvram/@format'],
    ["<nvram template='/srv/vars.fd'/>", '/domain/os/nvram/@template'],
    [
      "<firmware><feature enabled='no' name='secure-boot'/><feature enabled='yes' name='enrolled-keys'/></firmware>",
      '/domain/os/@firmware',
    ],
  ])('is none for %s', (os, path) => {
    let refusal: unknown;
    try {
      completed(os);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(DomainXmlError);
    const { kind, problems } = refusal as DomainXmlError;
    expect([kind, problems.map((one) => [one.path, one.line])]).toEqual(['xml-unsupported', [[path, 1]]]);
  });
});
