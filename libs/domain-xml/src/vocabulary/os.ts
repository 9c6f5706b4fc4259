import type { Of } from '../codec/element.ts';
import { element, pathOf, type Report, textOrAbsent } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  children,
  hostSide,
  optionalAttribute,
  named,
  optionalChild,
  optionalText,
  text,
} from '../codec/fields.ts';
import { integer, oneOf, path, pattern, printable } from '../codec/scalar.ts';
import { yesNo } from './common.ts';
import { nvram } from './nvram.ts';

/** qemuDomainMachineIsQ35, qemuDomainMachineIsI440FX: whether a host has it is for the host to say. */
const machine = pattern(
  /^(q35|pc|pc-(q35|i440fx)-[A-Za-z0-9.-]{1,48}|pc-[01]\.[0-9.]{1,8}|rhel[0-9.]{1,16})$/,
  'pc, q35, or one of the pc-q35-*, pc-i440fx-*, pc-0.*, pc-1.* and rhel* machines',
  ['pc-q35-7.2', 'pc-i440fx-7.2'],
);
const machineScalar: typeof machine = {
  ...machine,
  decode: (raw, policy) => {
    const decoded = machine.decode(raw, policy);
    return 'value' in decoded ? decoded : { ...decoded, kind: 'xml-unsupported' };
  },
};

/** What is booted, and on which machine. */
export const os = element(
  {
    /** What kind of firmware the loader is; without a loader the host would choose one. */
    firmwareKind: named('firmware', hostSide(optionalAttribute(oneOf('bios', 'efi')))),
    type: child(
      element({
        arch: attributeOr(oneOf('x86_64'), 'x86_64'),
        machine: optionalAttribute(machineScalar),
        value: text(oneOf('hvm')),
      }),
    ),
    firmware: hostSide(
      optionalChild(
        element({
          feature: children(
            element({ enabled: attribute(yesNo), name: attribute(oneOf('enrolled-keys', 'secure-boot')) }),
          ),
        }),
      ),
    ),
    loader: optionalChild(
      element({
        readonly: optionalAttribute(yesNo),
        secure: optionalAttribute(yesNo),
        type: optionalAttribute(oneOf('rom', 'pflash')),
        stateless: optionalAttribute(yesNo),
        format: optionalAttribute(oneOf('raw', 'qcow2')),
        path: hostSide(optionalText(path)),
      }),
    ),
    nvram: optionalChild(nvram),
    kernel: hostSide(optionalChild(textOrAbsent(path))),
    initrd: hostSide(optionalChild(textOrAbsent(path))),
    cmdline: optionalChild(textOrAbsent(printable)),
    acpi: optionalChild(
      element({ table: children(element({ type: attribute(oneOf('slic')), path: hostSide(text(path)) })) }),
    ),
    boot: children(element({ dev: attribute(oneOf('hd', 'cdrom', 'network', 'fd')) })),
    bootmenu: optionalChild(element({ enable: attribute(yesNo), timeout: optionalAttribute(integer(0, 65535)) })),
    smbios: optionalChild(element({ mode: attribute(oneOf('emulate', 'sysinfo')) })),
    bios: optionalChild(
      element({ useserial: optionalAttribute(yesNo), rebootTimeout: optionalAttribute(integer(-1, 65535)) }),
    ),
  },
  {
    refused: {
      dtb: 'It belongs to other machines than x86',
      shim: 'Put the shim into the boot disk',
      init: 'It belongs to containers',
    },
    check: (value, report) => {
      if (value.kernel === undefined && (value.initrd !== undefined || value.cmdline !== undefined)) {
        report('xml-invalid', '', 'initrd and cmdline need a kernel', 'Add <kernel>');
      }
      // acpi_table_add: what a colon parts are files of one table.
      const tables = value.acpi?.table ?? [];
      tables.forEach((table, i) => {
        const at = pathOf('/acpi', 'table', tables.length, i);
        if (table.path.includes(':'))
          report('xml-unsupported', at, 'QEMU takes a colon for the end of it', 'Rename it');
      });
      checkFirmware(value, report);
    },
  },
);

type Firmware = {
  readonly firmwareKind?: 'bios' | 'efi';
  readonly loader?: {
    readonly type?: 'rom' | 'pflash';
    readonly readonly?: boolean;
    readonly stateless?: boolean;
    readonly format?: 'raw' | 'qcow2';
    readonly path?: string;
  };
  readonly nvram?: object;
};

function checkFirmware({ firmwareKind, loader, nvram: store }: Firmware, report: Report): void {
  // Which one it is then is chosen by what the whole document asks for.
  if (firmwareKind === 'efi' && loader?.path === undefined) return;
  if (loader !== undefined && loader.path === undefined) {
    return report('xml-invalid', '/loader', 'it names no file', 'Give the path of the firmware');
  }
  // Read as flash beside a variable store (completeFirmware).
  const type = loader?.type ?? (loader !== undefined && store !== undefined ? 'pflash' : undefined);
  if (store !== undefined && type !== 'pflash') {
    return report('xml-invalid', '/nvram', 'a variable store needs a flash loader', "Add <loader type='pflash'>");
  }
  if (store !== undefined && (loader?.stateless === true || loader?.readonly === false)) {
    const why = loader.stateless === true ? 'keeps no variables' : 'is its own variable store';
    report('xml-invalid', '/nvram', `this loader ${why}`, 'Remove it');
  }
  if (loader === undefined || type === 'pflash') return;
  // qemuValidateDomainDefBoot
  if (loader.readonly === false) report('xml-invalid', '/loader/@readonly', 'ROM cannot be written to', 'Remove it');
  if (loader.stateless === false) report('xml-invalid', '/loader/@stateless', 'ROM keeps no state', 'Remove it');
  if (loader.format === 'qcow2') report('xml-invalid', '/loader/@format', 'ROM is a raw image', 'Remove it');
}

export type Os = Of<typeof os>;
