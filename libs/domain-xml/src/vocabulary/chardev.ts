import type { Fields, Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, attributeOr, child, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { bool, integer, oneOf, path } from '../codec/scalar.ts';
import { alias } from './common.ts';

const fileSource = hostSide(child(element({ path: attribute(path), append: optionalAttribute(bool('on', 'off')) })));
const unixSource = hostSide(child(element({ mode: attributeOr(oneOf('bind'), 'bind'), path: attribute(path) })));

/** A character device: what the guest sees is in `fields`, where its bytes go is the host's business. */
const withBackends = <F extends Fields>(fields: F) =>
  choice('type', {
    file: element({ source: fileSource, ...fields }),
    unix: element({ source: unixSource, ...fields }),
    null: element(fields),
  });

/** A serial port of the guest. */
export const serial = withBackends({
  target: optionalChild(
    element({
      type: attributeOr(oneOf('isa-serial'), 'isa-serial'),
      port: optionalAttribute(integer(0, 3)),
      model: optionalChild(element({ name: attribute(oneOf('isa-serial')) })),
    }),
  ),
  alias: hostSide(optionalChild(alias)),
});

/** A console; the first one is another name for the first serial port, as in libvirt. */
export const console = withBackends({
  target: optionalChild(
    element({ type: attributeOr(oneOf('serial'), 'serial'), port: optionalAttribute(integer(0, 3)) }),
  ),
  alias: hostSide(optionalChild(alias)),
});

export type Serial = Of<typeof serial>;
export type Console = Of<typeof console>;
