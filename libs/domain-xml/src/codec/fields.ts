import type { ElementCodec, Field } from './element.ts';
import type { Scalar } from './scalar.ts';

/** An attribute that must be given. */
export const attribute = <T>(scalar: Scalar<T>): Field<T, 'required'> => ({
  where: 'attribute',
  presence: 'required',
  hostSide: false,
  scalar,
});

/** An attribute that libvirt fills in when it is not given. */
export const attributeOr = <T>(scalar: Scalar<T>, fallback: NoInfer<T>): Field<T, 'required'> => ({
  ...attribute(scalar),
  fallback,
});

export const optionalAttribute = <T>(scalar: Scalar<T>): Field<T, 'optional'> => ({
  ...attribute(scalar),
  presence: 'optional',
});

/** A child element that must be given once. */
export const child = <T>(codec: ElementCodec<T>): Field<T, 'required'> => ({
  where: 'child',
  presence: 'required',
  hostSide: false,
  codec,
});

/** A child element that libvirt fills in when it is not given. */
export const childOr = <T>(codec: ElementCodec<T>, fallback: NoInfer<T>): Field<T, 'required'> => ({
  ...child(codec),
  fallback,
});

export const optionalChild = <T>(codec: ElementCodec<T>): Field<T, 'optional'> => ({
  ...child(codec),
  presence: 'optional',
});

/** Any number of child elements, in the order of the document. */
export const children = <T>(codec: ElementCodec<T>): Field<T, 'many'> => ({ ...child(codec), presence: 'many' });

/** The element's own text. */
export const text = <T>(scalar: Scalar<T>): Field<T, 'required'> => ({
  where: 'text',
  presence: 'required',
  hostSide: false,
  scalar,
});

/** Text that may be left out; blank text counts as none. */
export const optionalText = <T>(scalar: Scalar<T>): Field<T, 'optional'> => ({ ...text(scalar), presence: 'optional' });

/** What only the host sees: it may differ between the two sides of a migration. */
export const hostSide = <T, P extends Field<T>['presence']>(field: Field<T, P>): Field<T, P> => ({
  ...field,
  hostSide: true,
});

/** A field whose name in the value differs from the one in XML, where an attribute and a child have the same name. */
export const named = <T, P extends Field<T>['presence']>(xmlName: string, field: Field<T, P>): Field<T, P> => ({
  ...field,
  xmlName,
});
