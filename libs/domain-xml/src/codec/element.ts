import type { XmlNode } from '../xml/read.ts';
import type { XmlOut } from '../xml/write.ts';
import type { Findings } from './place.ts';
import type { Scalar } from './scalar.ts';

/** How an element is read and written, and what it accepts. */
export interface ElementCodec<T> {
  /** The value; undefined when a problem was reported. */
  decode(node: XmlNode, path: string, findings: Findings): T | undefined;
  /** `guestOnly` leaves out what only the host sees. */
  encode(name: string, value: T, guestOnly: boolean): XmlOut;
  readonly shape: Shape;
}

/** What documentation and property tests know about an element. */
export interface Shape {
  readonly text?: Scalar<unknown>;
  readonly fields: readonly FieldShape[];
  /** Elements and attributes (with `@`) that are refused with a hint of their own. */
  readonly refused: Readonly<Record<string, string>>;
  /** Elements and attributes that are read over, as libvirt does. */
  readonly ignored: Readonly<Record<string, string>>;
  /** Alternatives by the value of an attribute. */
  readonly choice?: { readonly attribute: string; readonly cases: Readonly<Record<string, Shape>> };
}

export interface FieldShape {
  readonly name: string;
  readonly where: 'attribute' | 'child' | 'text';
  readonly presence: Presence;
  readonly hostSide: boolean;
  readonly scalar?: Scalar<unknown>;
  readonly element?: Shape;
}

export type Presence = 'required' | 'optional' | 'many';

/** One part of an element. `T` is what it contributes to the element's value. */
export interface Field<T, P extends Presence = Presence> {
  readonly where: 'attribute' | 'child' | 'text';
  readonly presence: P;
  readonly hostSide: boolean;
  /** The name in XML where it is not the field's own. */
  readonly xmlName?: string;
  readonly fallback?: T;
  readonly scalar?: Scalar<T>;
  readonly codec?: ElementCodec<T>;
}

export type Fields = Readonly<Record<string, Field<unknown>>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;
type KeysWith<F extends Fields, P extends Presence> = {
  [K in keyof F]: F[K] extends { readonly presence: P } ? K : never;
}[keyof F];

/** The TypeScript type of an element, from its fields. */
export type ElementValue<F extends Fields> = {
  readonly [K in KeysWith<F, 'required'>]: ValueOf<F[K]>;
} & {
  readonly [K in KeysWith<F, 'optional'>]?: ValueOf<F[K]>;
} & {
  readonly [K in KeysWith<F, 'many'>]: readonly ValueOf<F[K]>[];
};

/** The value type of a codec. */
export type Of<C> = C extends ElementCodec<infer T> ? T : never;
