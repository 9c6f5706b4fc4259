import { describe, expect, it } from '@jest/globals';
import { parseDomain } from '../parse.ts';
import { refusalsOf } from '../testing/refusals.ts';
import { writeDomain } from '../write.ts';

const live = (model: string, label: string): string =>
  `<seclabel type='dynamic' model='${model}' relabel='yes'><label>${label}</label><imagelabel>${label}</imagelabel></seclabel>`;

describe('the label to run under', () => {
  it.each([
    ["<seclabel type='dynamic'/><seclabel model='dac'/>", '/domain/seclabel[1] it names no model beside others'],
    [live('dac', '+107:+107').repeat(2), '/domain/seclabel[2]/@model dac is given twice'],
    ["<seclabel type='static' model='dac'/>", '/domain/seclabel element <label> is missing'],
    ["<seclabel model='dac' relabel='no'/>", '/domain/seclabel/@relabel "no" is not supported'],
    ["<seclabel type='none' relabel='yes'/>", '/domain/seclabel/@relabel "yes" is not supported'],
  ])('is refused: %s', (more, problem) => expect(refusalsOf('', { more })).toEqual([problem]));

  it('of a live document is read and written back as it is', () => {
    const labels = live('dac', '+107:+107') + live('selinux', 'system_u:system_r:svirt_t:s0:c87,c520');
    const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
    const domain = parseDomain(
      `<domain type='qemu'><name>a</name><memory>65536</memory><os><type>hvm</type></os>${labels}</domain>`,
      policy,
    );
    expect(writeDomain(domain).replaceAll(/\s*\n\s*/g, '')).toContain(labels);
  });
});
