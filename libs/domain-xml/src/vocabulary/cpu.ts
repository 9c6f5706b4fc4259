import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, attributeOr, child, optionalAttribute, optionalChild, text } from '../codec/fields.ts';
import { bool, integer, oneOf, token } from '../codec/scalar.ts';

const topology = element({
  sockets: attribute(integer(1, 1024)),
  dies: attributeOr(integer(1, 64), 1),
  cores: attribute(integer(1, 1024)),
  threads: attribute(integer(1, 64)),
});

/** The processor. */
export const cpu = choice('mode', {
  custom: element({
    match: attributeOr(oneOf('exact'), 'exact'),
    check: attributeOr(oneOf('none'), 'none'),
    model: child(element({ fallback: attributeOr(oneOf('forbid', 'allow'), 'allow'), name: text(token) })),
    topology: optionalChild(topology),
  }),
  'host-passthrough': element({
    check: attributeOr(oneOf('none'), 'none'),
    migratable: optionalAttribute(bool('on', 'off')),
    topology: optionalChild(topology),
  }),
});

export type Cpu = Of<typeof cpu>;
