import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, hostSide, child, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { bool, macAddress, oneOf, pattern } from '../codec/scalar.ts';
import { pciAddress } from './address.ts';
import { alias, boot } from './common.ts';

const tap = element(
  {
    dev: attribute(
      pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/, 'a network device name of at most 15 characters', ['tap0']),
    ),
    managed: optionalAttribute(bool()),
  },
  {
    check: ({ managed }, report) => {
      if (managed === false) return;
      report(
        'xml-unsupported',
        '/@managed',
        'Ferry does not make network devices',
        "Make the tap first and add managed='no'",
      );
    },
  },
);

const common = {
  mac: optionalChild(element({ address: attribute(macAddress) })),
  model: optionalChild(element({ type: attribute(oneOf('virtio')) })),
  boot: optionalChild(boot),
  alias: hostSide(optionalChild(alias)),
  address: optionalChild(pciAddress),
};

/** A network card of the guest. */
export const networkInterface = choice('type', {
  user: element(common),
  ethernet: element({ target: hostSide(child(tap)), ...common }),
});

export type NetworkInterface = Of<typeof networkInterface>;
