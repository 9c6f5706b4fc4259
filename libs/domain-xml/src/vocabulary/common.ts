import { element } from '../codec/element-codec.ts';
import { attribute } from '../codec/fields.ts';
import { integer, pattern } from '../codec/scalar.ts';

/** The name that QEMU and events know a device by; users' own begin with `ua-`. */
export const alias = element({
  name: attribute(
    pattern(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/, 'a word of letters, digits and _ . -, a letter first', [
      'ua-disk',
      'net0',
    ]),
  ),
});

/** The device's place in the boot order. */
export const boot = element({ order: attribute(integer(1, 255)) });

/** An element whose presence says it all. */
export const present = element({});
