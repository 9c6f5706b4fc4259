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
import { bool, oneOf, path, pattern, printable } from '../codec/scalar.ts';

const machine = pattern(
  /^(q35|pc|pc-q35-\d{1,3}\.\d{1,3}|pc-i440fx-\d{1,3}\.\d{1,3})$/,
  'pc, q35, or one of the pc-q35-* and pc-i440fx-* machines',
  ['pc-q35-7.2', 'pc-i440fx-7.2'],
);

/** What is booted, and on which machine. */
export const os = element(
  {
    type: child(
      element({
        arch: attributeOr(oneOf('x86_64'), 'x86_64'),
        machine: optionalAttribute(machine),
        value: text(oneOf('hvm')),
      }),
    ),
    loader: optionalChild(
      element({ readonly: optionalAttribute(bool()), type: attribute(oneOf('rom')), path: hostSide(text(path)) }),
    ),
    kernel: hostSide(optionalChild(textElement(path))),
    initrd: hostSide(optionalChild(textElement(path))),
    cmdline: optionalChild(textElement(printable)),
    boot: children(element({ dev: attribute(oneOf('hd', 'cdrom', 'network')) })),
  },
  {
    check: (value, report) => {
      if (value.kernel === undefined && (value.initrd !== undefined || value.cmdline !== undefined)) {
        report('xml-invalid', '', 'initrd and cmdline need a kernel', 'Add <kernel>');
      }
    },
  },
);

export type Os = Of<typeof os>;
