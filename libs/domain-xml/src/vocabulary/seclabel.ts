import type { Of } from '../codec/element.ts';
import { choice, element, textElement, textOrAbsent } from '../codec/element-codec.ts';
import { attribute, child, children, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { oneOf, pattern } from '../codec/scalar.ts';

const model = oneOf('selinux', 'apparmor', 'dac', 'none');
const labelText = pattern(/^[^\p{Cc}\p{Cs}]{1,4096}$/u, 'a label on one line', [
  '+107:+107',
  'system_u:system_r:svirt_t:s0:c87,c520',
  'libvirt-1ccfd97d-5eb4-478a-bbe6-88d254c16db7',
]);
const madeLabel = optionalChild(textOrAbsent(labelText));

/**
 * Under which label QEMU runs. A `dynamic` one libvirt makes up for each start on each host: what a live document tells of it is of
 * that host. Ferry applies none; whether a domain that asks for one may run all the same is for each host to say.
 */
export const seclabel = choice(
  'type',
  {
    none: element({ model: optionalAttribute(model), relabel: optionalAttribute(oneOf('no')) }),
    dynamic: element({
      model: optionalAttribute(model),
      /** libvirt refuses `no`: files always get the label that it makes up (virSecurityLabelDefParseXML). */
      relabel: optionalAttribute(oneOf('yes')),
      label: madeLabel,
      imagelabel: madeLabel,
      baselabel: madeLabel,
    }),
    static: element({
      model: attribute(model),
      relabel: optionalAttribute(oneOf('yes', 'no')),
      label: child(textElement(labelText)),
      imagelabel: madeLabel,
    }),
  },
  { fallback: 'dynamic' },
);

export type Seclabel = Of<typeof seclabel>;

/** The label of a file or socket. Ferry relabels none: each keeps the label that it has. */
const sourceLabel = element(
  {
    model: optionalAttribute(model),
    relabel: optionalAttribute(oneOf('yes', 'no')),
    /** libvirt says it of a running guest's file that could not be relabelled, and does not read it. */
    labelskip: optionalAttribute(oneOf('yes', 'no')),
    label: madeLabel,
  },
  {
    check: ({ relabel, label }, report) => {
      if (relabel === 'no' && label !== undefined)
        report('xml-invalid', '/label', 'what is not relabelled gets no label', 'Leave one of them out');
    },
  },
);
export const sourceLabels = hostSide(children(sourceLabel));
export type SourceLabel = Of<typeof sourceLabel>;
