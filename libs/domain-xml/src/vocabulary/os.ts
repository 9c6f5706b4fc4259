import type { Of } from '../codec/element.ts';
import { element, textElement } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
  text,
} from '../codec/fields.ts';
import { integer, oneOf, path, pattern, printable } from '../codec/scalar.ts';
import { yesNo } from './common.ts';

const machine = pattern(
  /^(q35|pc|pc-q35-\d{1,3}\.\d{1,3}|pc-i440fx-\d{1,3}\.\d{1,3})$/,
  'pc, q35, or one of the pc-q35-* and pc-i440fx-* machines',
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
    type: child(
      element({
        arch: attributeOr(oneOf('x86_64'), 'x86_64'),
        machine: optionalAttribute(machineScalar),
        value: text(oneOf('hvm')),
      }),
    ),
    loader: optionalChild(
      element({
        readonly: optionalAttribute(yesNo),
        secure: optionalAttribute(yesNo),
        type: attributeOr(oneOf('rom', 'pflash'), 'rom'),
        stateless: optionalAttribute(yesNo),
        format: optionalAttribute(oneOf('raw', 'qcow2')),
        path: hostSide(text(path)),
      }),
    ),
    nvram: optionalChild(
      element(
        { format: optionalAttribute(oneOf('raw', 'qcow2')), path: hostSide(text(path)) },
        {
          refused: {
            '@template': 'Make the variable store from the template first: it is state of the guest',
            '@templateFormat': 'Make the variable store from the template first',
            '@type': 'Use a file',
            source: 'Use a file: <nvram>/path</nvram>',
          },
        },
      ),
    ),
    kernel: hostSide(optionalChild(textElement(path))),
    initrd: hostSide(optionalChild(textElement(path))),
    cmdline: optionalChild(textElement(printable)),
    boot: children(element({ dev: attribute(oneOf('hd', 'cdrom', 'network', 'fd')) })),
    bootmenu: optionalChild(element({ enable: attribute(yesNo), timeout: optionalAttribute(integer(0, 65535)) })),
    smbios: optionalChild(element({ mode: attribute(oneOf('emulate', 'sysinfo')) })),
    bios: optionalChild(
      element({ useserial: optionalAttribute(yesNo), rebootTimeout: optionalAttribute(integer(-1, 65535)) }),
    ),
  },
  {
    refused: {
      '@firmware':
        'Name the firmware: <loader> and, for UEFI, <nvram>; what a host would choose may differ on the next',
      firmware: 'Name the firmware: <loader> and, for UEFI, <nvram>',
      dtb: 'It belongs to other machines than x86',
      shim: 'Put the shim into the boot disk',
      acpi: 'Tables of a host file are not moved',
      init: 'It belongs to containers',
    },
    check: (value, report) => {
      if (value.kernel === undefined && (value.initrd !== undefined || value.cmdline !== undefined)) {
        report('xml-invalid', '', 'initrd and cmdline need a kernel', 'Add <kernel>');
      }
      if (value.nvram !== undefined && value.loader?.type !== 'pflash') {
        report('xml-invalid', '/nvram', 'a variable store needs a flash loader', "Add <loader type='pflash'>");
      }
    },
  },
);

export type Os = Of<typeof os>;
