import { choice, element } from '../codec/element-codec.ts';
import { attribute, children, hostSide, optionalAttribute } from '../codec/fields.ts';
import { oneOf } from '../codec/scalar.ts';

const model = oneOf('selinux', 'apparmor', 'dac', 'none');
const hint = "Ferry labels nothing: what confines QEMU is the service's own unit or container. Use type='none'";

/** Under which label QEMU runs: only under its own. */
export const seclabel = choice(
  'type',
  { none: element({ model: optionalAttribute(model), relabel: optionalAttribute(oneOf('no')) }) },
  { refused: { dynamic: hint, static: hint } },
);

/** Files keep the labels that they have. */
export const sourceLabels = hostSide(
  children(
    element(
      { model: optionalAttribute(model), relabel: attribute(oneOf('no')) },
      { refused: { '@labelskip': 'Ferry does not relabel files: remove it' } },
    ),
  ),
);
