import { configText, type GuestOptions, guestConfig } from './config.ts';
import { GuestError } from './errors.ts';

/** A domain that runs the guest. */
export interface GuestDomain extends GuestOptions {
  readonly name: string;
  /** Default: left out, so that whoever defines the domain chooses one. */
  readonly uuid?: string;
  /** At least 4; the working set must fit above its first MiB. */
  readonly memoryMiB: number;
  /** Where the output goes. To a `unix` socket QEMU writes only while somebody is connected: connect before the guest runs. */
  readonly serial: { readonly type: 'file' | 'unix'; readonly path: string };
  /** Default `pc-q35-7.2`; i440fx does as well. */
  readonly machine?: string;
  /** What buildGuest() returned. */
  readonly rom: string;
}

/** The libvirt domain document of a guest (`type='qemu'`: no KVM). Throws GuestError `config-invalid`. */
export function guestXml(domain: GuestDomain): string {
  const { name, uuid, memoryMiB, serial, machine = 'pc-q35-7.2', rom } = domain;
  const config = guestConfig(domain);
  if (config.dirtyBytes > (memoryMiB - 1) * 1024 ** 2) {
    throw new GuestError(
      'config-invalid',
      `dirty is ${config.dirtyBytes}, more than ${memoryMiB} MiB - 1 MiB of memory`,
    );
  }
  const source =
    serial.type === 'unix' ? `mode='bind' path='${text(serial.path)}'` : `path='${text(serial.path)}' append='on'`;
  return `<domain type='qemu'>
  <name>${text(name)}</name>${uuid === undefined ? '' : `\n  <uuid>${text(uuid)}</uuid>`}
  <memory unit='MiB'>${memoryMiB}</memory>
  <currentMemory unit='MiB'>${memoryMiB}</currentMemory>
  <vcpu>1</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/ferry.guest'>${text(configText(config))}</entry>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='${text(machine)}'>hvm</type>
    <loader readonly='yes' type='rom'>${text(rom)}</loader>
  </os>
  <features>
    <acpi/>
  </features>
  <clock offset='utc'/>
  <devices>
    <controller type='usb' model='none'/>
    <serial type='${serial.type}'>
      <source ${source}/>
      <target type='isa-serial' port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

/** A value as text or attribute of a document. */
const text = (value: string): string => value.replaceAll(/[<>&'"]/g, (char) => `&#${char.codePointAt(0) ?? 0};`);
