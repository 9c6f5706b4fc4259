import { describe, expect, it } from '@jest/globals';
import { notAllowed, readArgumentRules } from './added-arguments.ts';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';

const rules = readArgumentRules(`
# What our guests bring.
-fw_cfg name=opt/com.example/*,string=*
-device ivshmem-plain,**
-nographic
--cpu host,a+b=(c)
`);

describe('arguments that a document adds', () => {
  it.each([
    [['-fw_cfg', 'name=opt/com.example/a,string=b']],
    [['--fw_cfg', 'name=opt/com.example/a,string=']],
    [['-device', 'ivshmem-plain,memdev=m,master=on']],
    [['-nographic', '-nographic']],
    [['-cpu', 'host,a+b=(c)']],
    [[]],
  ])('are taken where the list has them: %j', (args) => expect(notAllowed(args, rules)).toBeUndefined());

  it.each([
    [['-fw_cfg', 'name=opt/com.example/a,string=b,file=/etc/shadow'], 0],
    [['-fw_cfg', 'name=opt/com.example/a,file=/etc/shadow,string=b'], 0],
    [['-fw_cfg', 'name=opt/com.example/a,string=b\n,c'], 0],
    [['-nographic', '-fw_cfg'], 1],
    [['-nographic', '/etc/shadow'], 0],
    [['/etc/shadow'], 0],
    [['-devic', 'ivshmem-plain,'], 0],
    [['-device', 'e1000'], 0],
    [['-cpu', 'host,aab=(c)'], 0],
    [['-device', 'ivshmem-plain,', 'x'], 2],
  ])('are not where it does not: %j', (args, at) => expect(notAllowed(args, rules)).toMatchObject({ at }));

  it('are listed one a line', () => {
    expect(readArgumentRules('-S\n\n# no\n -a  b c \n')).toEqual([{ name: '-S' }, { name: '-a', pattern: 'b c' }]);
    expect(() => readArgumentRules('-S\ndevice *')).toThrow('line 2 is neither');
  });
});

describe('a document with elements of libvirt’s for QEMU', () => {
  const read = (inner: string, addedArguments?: 'allow' | 'refuse' | typeof rules) => {
    try {
      const xml = `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>
        <memory>65536</memory><os><type>hvm</type></os>${inner}</domain>`;
      return parseDomain(xml, {
        allowedRoots: ['/'],
        maxBytes: 1 << 20,
        ...(addedArguments === undefined ? {} : { addedArguments }),
      }).kept;
    } catch (error) {
      if (!(error instanceof DomainXmlError)) throw error;
      return error.problems.map(({ path, what, hint }) => `${path}: ${what}. ${hint}`);
    }
  };
  const args = (...values: string[]): string =>
    `<qemu:commandline>${values.map((value) => `<qemu:arg value='${value}'/>`).join('')}</qemu:commandline>`;

  it('has those arguments that are on the list', () => {
    expect(read(args('-nographic', '-cpu', 'host,a+b=(c)'), rules)).toMatchObject({
      qemuArguments: ['-nographic', '-cpu', 'host,a+b=(c)'],
    });
    expect(read(args('-nographic', '-device', 'e1000'), rules)).toEqual([
      expect.stringMatching(
        /^\/domain\/qemu:commandline\/qemu:arg\[2\]: this host does not allow "-device e1000"\. .*FERRY_QEMU_COMMANDLINE/,
      ),
    ]);
    expect(read(args('-nographic'), [])).toHaveLength(1);
  });

  it.each(['capabilities', 'override', 'deprecation'])('has no qemu:%s, whatever the host allows', (name) => {
    expect(read(`<qemu:${name}><qemu:x/></qemu:${name}>`, 'allow')).toEqual([
      expect.stringMatching(new RegExp(`${name}> is not supported. [A-Z]`)),
    ]);
  });

  it.each(['commandline', 'capabilities', 'override'])('may have an empty qemu:%s, which says nothing', (name) => {
    expect(read(`<qemu:${name}/>`)).toMatchObject({ qemuArguments: [], elements: [] });
    expect(read(`<qemu:${name}> </qemu:${name}>`, 'allow')).toMatchObject({ qemuArguments: [], elements: [] });
  });
});
