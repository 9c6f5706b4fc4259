import { expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { devicesOf, withDirectory } from '../testing/real-qemu.ts';
import { forThisMachine } from '../testing/this-machine.ts';
import { qemuArguments } from './arguments.ts';

const disk = (dev: string, alias: string, more = '') =>
  `<disk type='file'><source file='/tmp/${dev}.img'/><target dev='${dev}' bus='virtio'/>${more}<alias name='${alias}'/></disk>`;
const longest = `ua-${'x'.repeat(61)}`;
const xml = `<domain type='qemu'><name>web-1</name><memory unit='MiB'>64</memory><os><type machine='pc'>hvm</type></os><devices>
  ${disk('vda', 'ua-00000000-1111-4222-8333-444444444444', '<iotune><total_iops_sec>9</total_iops_sec></iotune>')}
  ${disk('vdb', longest)}${disk('vdc', `${longest.slice(0, -1)}y`)}</devices></domain>`;

it('QEMU takes a disk whose alias is longer than its node names may be', async () => {
  const domain = completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 }), { machineAliases: {} });
  await withDirectory(async (directory) => {
    const found = await devicesOf(forThisMachine(qemuArguments(domain, directory), directory), directory);
    expect(Object.keys(found)).toContain(longest);
  });
});
