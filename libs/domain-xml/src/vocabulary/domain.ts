import type { Of } from '../codec/element.ts';
import { choice, element, textElement } from '../codec/element-codec.ts';
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
import { freeText, integer, name, oneOf, path, pattern, safeText, uuid } from '../codec/scalar.ts';
import { present } from './common.ts';
import { cpu } from './cpu.ts';
import { devices } from './devices.ts';
import { memoryKib } from './memory.ts';
import { os } from './os.ts';

const fwcfgEntry = element(
  {
    name: attribute(
      pattern(
        /^opt\/[A-Za-z0-9][A-Za-z0-9_./-]{0,50}$/,
        'a name that begins with opt/, of at most 55 letters, digits and _ . / -',
        ['opt/ferry.guest'],
      ),
    ),
    file: hostSide(optionalAttribute(path)),
    value: text(safeText),
  },
  {
    check: ({ file, value }, report) => {
      if (file !== undefined && value !== '')
        report('xml-invalid', '', 'it has a file and a value', 'Give one of them');
    },
  },
);

/** What happens when the guest powers off, reboots or crashes. */
const lifecycle = {
  on_poweroff: optionalChild(textElement(oneOf('destroy', 'preserve'))),
  on_reboot: optionalChild(textElement(oneOf('restart', 'destroy'))),
  on_crash: optionalChild(textElement(oneOf('destroy', 'restart', 'preserve'))),
};

/** The whole document, in the order in which libvirt writes it; `<metadata>` and foreign elements are kept beside it. */
export const document = element(
  {
    type: attribute(oneOf('qemu', 'kvm')),
    name: child(textElement(name)),
    uuid: optionalChild(textElement(uuid)),
    title: hostSide(optionalChild(textElement(freeText))),
    description: hostSide(optionalChild(textElement(freeText))),
    memory: child(memoryKib),
    currentMemory: optionalChild(memoryKib),
    vcpu: child(
      element({ placement: hostSide(attributeOr(oneOf('static'), 'static')), count: text(integer(1, 1024)) }),
    ),
    sysinfo: children(choice('type', { fwcfg: element({ entry: children(fwcfgEntry) }) })),
    os: child(os),
    features: optionalChild(element({ acpi: optionalChild(present), apic: optionalChild(present) })),
    cpu: optionalChild(cpu),
    clock: optionalChild(element({ offset: attribute(oneOf('utc', 'localtime')) })),
    ...lifecycle,
    devices: child(devices),
  },
  { ignored: { '@id': 'libvirt numbers running domains anew on each host' } },
);

/** The document as read: every value checked. */
export type DomainDocument = Of<typeof document>;
