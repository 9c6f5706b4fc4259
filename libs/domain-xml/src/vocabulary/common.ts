import { absentWhere, element } from '../codec/element-codec.ts';
import { attribute, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { bool, integer, pattern } from '../codec/scalar.ts';

/** On or off, as most of libvirt's switches are spelt. */
export const onOff = bool('on', 'off');
export const yesNo = bool();

const kept = /^[A-Za-z][A-Za-z0-9_.-]{0,4095}$/;
/** What else libvirt reads over and generates again, as it does every alias that is not a user's own (virDomainDeviceInfoParseXML). */
const aliasElement = absentWhere(
  ({ attributes }) => !kept.test(attributes.get('name') ?? ''),
  element({
    name: attribute(
      pattern(kept, 'a word of letters, digits and _ . -, a letter first; any other: as if it were absent', [
        'ua-disk',
        'ua-net.0',
      ]),
    ),
  }),
);

/** The name that QEMU and events know a device by; users' own begin with `ua-`. */
export const alias = hostSide(optionalChild(aliasElement));

/** The device's place in the boot order. */
export const boot = optionalChild(element({ order: attribute(integer(1, 255)) }));

/** The index by which a guest's firmware names a PCI device. */
export const acpiIndex = optionalChild(element({ index: attribute(integer(1, 16383)) }));

/** An element whose presence says it all. */
export const present = element({});

/** A switch as an element: `<pmu state='off'/>`. */
export const state = element({ state: optionalAttribute(onOff) });

/** What every virtio device's `<driver>` may ask for. */
export const virtioOptions = {
  iommu: optionalAttribute(onOff),
  ats: optionalAttribute(onOff),
  packed: optionalAttribute(onOff),
  page_per_vq: optionalAttribute(onOff),
};

/** The `<driver>` of a virtio device that has no options of its own. */
export const virtioDriver = optionalChild(element(virtioOptions));

/** The three ways in which a virtio device can present itself. */
export const virtioModels = ['virtio', 'virtio-transitional', 'virtio-non-transitional'] as const;
