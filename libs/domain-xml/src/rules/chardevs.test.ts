import { describe, expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { refusalsOf } from '../testing/refusals.ts';

const port = (inner: string) => `<serial type='pty'>${inner}</serial>`;
const channel = (address: string) =>
  `<channel type='pty'><target type='virtio' name='a'/><address type='virtio-serial' ${address}/></channel>`;
const isa = (iobase: string) => `<address type='isa' iobase='${iobase}' irq='0x4'/>`;

describe('a character device', () => {
  it.each([
    [
      "<channel type='unix'><source mode='bind' path='/a'><reconnect enabled='yes' timeout='1'/></source><target type='virtio'/></channel>",
      '/channel/source/reconnect who is connected to cannot connect again',
    ],
    [port("<target port='0'/>").repeat(2), '/serial[2]/target/@port two are port 0'],
    [
      port("<target type='pci-serial'><model name='usb-serial'/></target>"),
      '/serial/target/model/@name a pci-serial is no usb-serial',
    ],
    [
      `${channel("port='4'")}<controller type='virtio-serial' index='0' ports='4'/>`,
      '/channel/address virtio-serial controller 0 has no port 4',
    ],
    [
      `${port(isa('0x3f8'))}<console type='pty'>${isa('0x2f8')}</console>`,
      '/console/address this console is not there',
    ],
    ["<parallel type='pty'><target port='0'/></parallel>".repeat(2), '/parallel[2]/target/@port two are port 0'],
    [
      "<console type='pty'><target type='serial'/><address type='virtio-serial' port='1'/></console>",
      '/console/address this console is not there',
    ],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));

  it('may be a console with the address of the serial port that it is', () => {
    const console = `<console type='pty'><target type='serial'/>${isa('0x3e8')}</console>`;
    expect(refusalsOf(port(isa('0x3e8')) + console)).toEqual([]);
    const domain = completeDomain(
      parseDomain(
        `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='pc'>hvm</type></os><devices>${console}</devices></domain>`,
        { allowedRoots: [], maxBytes: 1024 },
      ),
      { machineAliases: {} },
    );
    expect(domain.devices.serial[0]?.address).toEqual({ type: 'isa', iobase: 0x3e8, irq: 4 });
  });
});
