import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { hex, integer, oneOf } from '../codec/scalar.ts';
import { pciAddress } from './address.ts';
import { alias } from './common.ts';

const common = {
  index: optionalAttribute(integer(0, 255)),
  alias: hostSide(optionalChild(alias)),
  address: optionalChild(pciAddress),
};

/** What other devices hang on. */
export const controller = choice('type', {
  pci: element({
    index: common.index,
    model: attribute(oneOf('pci-root', 'pcie-root', 'pcie-root-port')),
    modelName: { ...optionalChild(element({ name: attribute(oneOf('pcie-root-port')) })), xmlName: 'model' },
    target: optionalChild(
      element({ chassis: optionalAttribute(integer(1, 255)), port: optionalAttribute(hex(255, 1)) }),
    ),
    alias: common.alias,
    address: common.address,
  }),
  sata: element({ ...common, model: optionalAttribute(oneOf('ahci')) }),
  usb: element({ ...common, model: attribute(oneOf('none')) }),
});

export type Controller = Of<typeof controller>;
export type PciController = Extract<Controller, { type: 'pci' }>;
