import type { LinuxGuest } from './linux-guest.ts';

/** A domain that boots a Linux guest; its counter comes out of the serial port. */
export interface LinuxDomain {
  readonly name: string;
  readonly guest: LinuxGuest;
  /** At least 128. */
  readonly memoryMiB: number;
  readonly serial: { readonly type: 'file' | 'unix'; readonly path: string };
}

/** The libvirt domain document of a Linux guest. */
export function linuxGuestXml({ name, guest, memoryMiB, serial }: LinuxDomain): string {
  // The hosts of a lab share their files: each QEMU adds to the output.
  const mode = serial.type === 'unix' ? "mode='bind' " : "append='on' ";
  return `<domain type='qemu'>
  <name>${text(name)}</name>
  <memory unit='MiB'>${memoryMiB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>${text(guest.kernel)}</kernel>
    <initrd>${text(guest.initrd)}</initrd>
    <cmdline>${text(guest.cmdline)}</cmdline>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <clock offset='utc'/>
  <devices>
    <controller type='usb' model='none'/>
    <serial type='${serial.type}'>
      <source ${mode}path='${text(serial.path)}'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

/** A value as text or attribute of a document. */
const text = (value: string): string => value.replaceAll(/[<>&'"]/g, (char) => `&#${char.codePointAt(0) ?? 0};`);
