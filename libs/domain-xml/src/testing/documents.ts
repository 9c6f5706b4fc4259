import * as fc from 'fast-check';
import type { FieldShape, Shape } from '../codec/element.ts';
import type { XmlOut } from '../xml/write.ts';

/** Any document that the vocabulary allows, element by element; whole-document rules may still refuse it. */
export function anyElement(name: string, shape: Shape): fc.Arbitrary<XmlOut> {
  if (shape.choice !== undefined) {
    const { attribute, cases } = shape.choice;
    return fc.oneof(
      ...Object.entries(cases).map(([word, inner]) =>
        anyElement(name, inner).map((out) => ({ ...out, attributes: [[attribute, word] as const, ...out.attributes] })),
      ),
    );
  }
  const parts = shape.fields.map((field) => anyField(field));
  const text = shape.text === undefined ? fc.constant(undefined) : fc.constantFrom(...shape.text.samples);
  return fc.tuple(text, ...parts).map(([own, ...found]): XmlOut => {
    const all = found.flat();
    const inner = own ?? all.find((part) => part.kind === 'text')?.value;
    return {
      name,
      attributes: all.flatMap((part) => (part.kind === 'attribute' ? [[part.name, part.value] as const] : [])),
      children: all.flatMap((part) => (part.kind === 'child' ? [part.element] : [])),
      ...(inner === undefined ? {} : { text: inner }),
    };
  });
}

type Part =
  | { readonly kind: 'attribute'; readonly name: string; readonly value: string }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'child'; readonly element: XmlOut };

function anyField(field: FieldShape): fc.Arbitrary<readonly Part[]> {
  const one = partOf(field);
  if (field.presence === 'required') return one.map((part) => [part]);
  // Few at a time: what excludes each other would leave hardly a document that is accepted.
  const some = field.presence === 'many' ? fc.array(one, { minLength: 1, maxLength: 2 }) : one.map((part) => [part]);
  return fc.oneof({ weight: 5, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: some });
}

function partOf({ name, where, scalar, element }: FieldShape): fc.Arbitrary<Part> {
  if (where === 'child') {
    if (element === undefined) throw new TypeError(`child ${name} has no shape`);
    return anyElement(name, element).map((out) => ({ kind: 'child', element: out }));
  }
  const value = fc.constantFrom(...(scalar?.samples ?? ['']));
  return value.map((text) => ({ kind: where, name, value: text }));
}

/** All texts and attributes of an element, each as a way to make the element with another text in that place. */
export function places(
  element: XmlOut,
): readonly { readonly path: string; readonly text: string; with(text: string): XmlOut }[] {
  const at = element.name;
  return [
    ...element.attributes.map(([key, text], i) => ({
      path: `${at}/@${key}`,
      text,
      with: (changed: string): XmlOut => ({ ...element, attributes: element.attributes.with(i, [key, changed]) }),
    })),
    ...(element.text === undefined
      ? []
      : [{ path: at, text: element.text, with: (changed: string): XmlOut => ({ ...element, text: changed }) }]),
    ...element.children.flatMap((child, i) =>
      places(child).map((place) => ({
        path: `${at}/${place.path}`,
        text: place.text,
        with: (changed: string): XmlOut => ({ ...element, children: element.children.with(i, place.with(changed)) }),
      })),
    ),
  ];
}
