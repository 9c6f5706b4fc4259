import type { XmlNode } from '../xml/read.ts';
import type { XmlOut } from '../xml/write.ts';
import type { ElementCodec, ElementValue, Field, Fields, FieldShape, Shape } from './element.ts';
import { type Findings, withOrigin } from './place.ts';
import { shown, type Scalar } from './scalar.ts';

export interface ElementOptions<T> {
  /** Hints for what is refused on purpose: `{ hostdev: '…', '@wwn': '…' }`. Whatever else is unknown is refused too. */
  readonly refused?: Readonly<Record<string, string>>;
  /** What libvirt itself ignores when it reads a document, by why: `{ '@id': '…' }`. */
  readonly ignored?: Readonly<Record<string, string>>;
  /** Rules that span several fields. */
  readonly check?: (value: T, report: Report) => void;
}

/** Reports a problem at a path below the element (`''`, `/@cache`, `/driver/@io`). */
export type Report = (kind: 'xml-unsupported' | 'xml-invalid', below: string, what: string, hint: string) => void;

/** An element made of attributes, children and text; whatever else it has is refused by name. */
export function element<F extends Fields>(
  fields: F,
  options: ElementOptions<ElementValue<F>> = {},
): ElementCodec<ElementValue<F>> {
  const entries = Object.entries(fields).map(([key, field]) => ({ key, name: field.xmlName ?? key, field }));
  return {
    decode: (node, path, findings) => {
      // What is wrong with this one could not be noted any more.
      if (findings.full) return undefined;
      findings.visit(path, node.line);
      const before = findings.problems.length;
      refuseUnknown(node, path, entries, options, findings);
      const value: Record<string, unknown> = {};
      for (const { key, name, field } of entries) {
        const decoded = decodeField(name, field, node, path, findings);
        if (decoded !== undefined) value[key] = decoded;
      }
      if (findings.problems.length > before || findings.full) return undefined;
      const complete = value as ElementValue<F>;
      options.check?.(complete, (kind, below, what, hint) => findings.report(kind, `${path}${below}`, what, hint));
      return withOrigin(complete, path, node.line);
    },
    encode: (name, value, guestOnly) => {
      const attributes: [string, string][] = [];
      const children: XmlOut[] = [];
      let text: string | undefined;
      let leftOut = false;
      for (const { key, name: xmlName, field } of entries) {
        const part = (value as Record<string, unknown>)[key];
        if (part === undefined) continue;
        if (guestOnly && field.hostSide) {
          leftOut = true;
          continue;
        }
        if (field.where === 'attribute') attributes.push([xmlName, field.scalar?.encode(part) ?? '']);
        else if (field.where === 'text') text = field.scalar?.encode(part);
        else {
          for (const one of field.presence === 'many' ? (part as readonly unknown[]) : [part]) {
            const out = field.codec?.encode(xmlName, one, guestOnly);
            if (out !== undefined && out.hollow !== true) children.push(out);
          }
        }
      }
      const hollow = leftOut && attributes.length === 0 && children.length === 0 && (text ?? '') === '';
      return { name, attributes, children, ...(text === undefined ? {} : { text }), ...(hollow ? { hollow } : {}) };
    },
    shape: {
      fields: entries.map(({ name, field }) => shapeOf(name, field)),
      refused: options.refused ?? {},
      ignored: options.ignored ?? {},
    },
  };
}

/** An element that is only text, like `<name>`. */
export function textElement<T>(scalar: Scalar<T>): ElementCodec<T> {
  return {
    decode: (node, path, findings) => {
      findings.visit(path, node.line);
      refuseUnknown(node, path, [{ name: '', field: { where: 'text' } }], {}, findings);
      return decodeText(scalar, node.text, path, findings);
    },
    encode: (name, value) => ({ name, attributes: [], children: [], text: scalar.encode(value) }),
    shape: { text: scalar, fields: [], refused: {}, ignored: {} },
  };
}

/** Reads an element of which `isAbsent` holds as if it were not there. */
export function absentWhere<T>(isAbsent: (node: XmlNode) => boolean, codec: ElementCodec<T>): ElementCodec<T> {
  return {
    ...codec,
    decode: (node, path, findings) => (isAbsent(node) ? undefined : codec.decode(node, path, findings)),
  };
}

const isEmpty = ({ text, children, attributes }: XmlNode): boolean =>
  text === '' && children.length === 0 && attributes.size === 0;

/** A text element that libvirt takes for none where it is empty (virXPathString). */
export const textOrAbsent = <T>(scalar: Scalar<T>): ElementCodec<T> =>
  absentWhere(isEmpty, textElement({ ...scalar, accepts: `${scalar.accepts}; empty: as if it were absent` }));

/** Different elements under one name, told apart by an attribute: `<source>` of a file disk and of a network disk. */
export function choice<A extends string, C extends Readonly<Record<string, ElementCodec<object>>>>(
  attribute: A,
  cases: C,
  options: {
    readonly fallback?: keyof C & string;
    readonly refused?: Readonly<Record<string, string>>;
    /** Which of them it is, is the host's business. */
    readonly hostSide?: boolean;
  } = {},
): ElementCodec<{ [K in keyof C & string]: { readonly [N in A]: K } & OfObject<C[K]> }[keyof C & string]> {
  type Value = { [K in keyof C & string]: { readonly [N in A]: K } & OfObject<C[K]> }[keyof C & string];
  const words = Object.keys(cases);
  return {
    decode: (node, path, findings) => {
      const word = node.attributes.get(attribute) ?? options.fallback;
      const codec = word === undefined || !Object.hasOwn(cases, word) ? undefined : cases[word];
      if (word === undefined || codec === undefined) {
        findings.visit(path, node.line);
        const hint = options.refused?.[word ?? ''] ?? `Supported: ${words.join(', ')}`;
        if (word === undefined) findings.report('xml-invalid', path, `attribute ${attribute} is missing`, hint);
        else findings.report('xml-unsupported', `${path}/@${attribute}`, `${shown(word)} is not supported`, hint);
        return undefined;
      }
      const rest = new Map(node.attributes);
      rest.delete(attribute);
      const value = codec.decode({ ...node, attributes: rest }, path, findings);
      return value && withOrigin({ [attribute]: word, ...value } as unknown as Value, path, node.line);
    },
    encode: (name, value, guestOnly) => {
      const { [attribute]: word, ...rest } = value as Record<string, unknown>;
      const codec = cases[String(word)];
      if (codec === undefined) throw new TypeError(`no case ${String(word)} of ${name}`);
      const out = codec.encode(name, rest, guestOnly);
      if (guestOnly && options.hostSide === true) return out;
      const { hollow: _hollow, ...kept } = out;
      return { ...kept, attributes: [[attribute, String(word)], ...out.attributes] };
    },
    shape: {
      fields: [],
      refused: options.refused ?? {},
      ignored: {},
      choice: { attribute, cases: Object.fromEntries(Object.entries(cases).map(([k, c]) => [k, c.shape])) },
    },
  };
}

type OfObject<C> = C extends ElementCodec<infer T> ? T : never;

function decodeField(name: string, field: Field<unknown>, node: XmlNode, path: string, findings: Findings): unknown {
  const missing = (what: string) =>
    findings.report('xml-invalid', path, `${what} is missing`, `Add ${field.scalar?.accepts ?? 'it'}`);
  if (field.where === 'text') {
    if (field.presence === 'optional' && node.text.trim() === '') return undefined;
    return field.scalar && decodeText(field.scalar, node.text, path, findings);
  }
  if (field.where === 'attribute') {
    const raw = node.attributes.get(name);
    if (raw !== undefined) return field.scalar && decodeText(field.scalar, raw, `${path}/@${name}`, findings);
    if (field.fallback === undefined && field.presence === 'required') missing(`attribute ${name}`);
    return field.fallback;
  }
  const found = node.children.filter((c) => c.namespace === '' && c.name === name);
  const paths = found.map((_, i) => pathOf(path, name, found.length, i));
  if (field.presence === 'many' && found.length > siblingsMax) {
    const what = `there are ${found.length} elements <${name}>`;
    findings.report('xml-invalid', path, what, `At most ${siblingsMax} are read`);
    return undefined;
  }
  if (field.presence === 'many') return found.map((one, i) => field.codec?.decode(one, paths[i] ?? path, findings));
  const [first, second] = found;
  if (second !== undefined) {
    findings.visit(paths[1] ?? path, second.line);
    findings.report('xml-invalid', paths[1] ?? path, `<${name}> is given twice`, 'Remove one');
  }
  if (first !== undefined) return field.codec?.decode(first, paths[0] ?? path, findings);
  if (field.presence === 'required' && field.fallback === undefined) missing(`element <${name}>`);
  return field.fallback;
}

/** More CPUs, features and entries than QEMU takes: much of what is found out about one looks at all others. */
const siblingsMax = 1024;

/** An XPath to an element: numbered only where it has siblings of its name. */
export function pathOf(parent: string, name: string, count: number, index: number): string {
  return count > 1 ? `${parent}/${name}[${index + 1}]` : `${parent}/${name}`;
}

function decodeText<T>(scalar: Scalar<T>, raw: string, path: string, findings: Findings): T | undefined {
  const decoded = scalar.decode(raw, findings.policy);
  if ('value' in decoded) return decoded.value;
  findings.report(decoded.kind, path, decoded.wrong, decoded.hint);
  return undefined;
}

type Known = readonly { readonly name: string; readonly field: { readonly where: Field<unknown>['where'] } }[];

function refuseUnknown(
  node: XmlNode,
  path: string,
  known: Known,
  options: Pick<ElementOptions<never>, 'refused' | 'ignored'>,
  findings: Findings,
): void {
  const names = (where: Field<unknown>['where']) =>
    new Set(known.filter((entry) => entry.field.where === where).map((entry) => entry.name));
  const hint = (key: string) =>
    options.refused?.[key] ?? 'Remove it, or move this guest with something that supports it';
  const attributes = names('attribute');
  for (const name of node.attributes.keys()) {
    if (findings.full) return;
    if (attributes.has(name) || Object.hasOwn(options.ignored ?? {}, `@${name}`)) continue;
    const at = `${path}/@${name}`;
    findings.report('xml-unsupported', at, `attribute ${name} is not supported`, hint(`@${name}`), at);
  }
  const elements = names('child');
  const nameOf = (one: XmlNode) => (one.namespace === '' ? one.name : `{${one.namespace}}${one.name}`);
  const totals = new Map<string, number>();
  for (const one of node.children) totals.set(nameOf(one), (totals.get(nameOf(one)) ?? 0) + 1);
  const seen = new Map<string, number>();
  for (const one of node.children) {
    if (findings.full) return;
    const name = nameOf(one);
    const index = seen.get(name) ?? 0;
    seen.set(name, index + 1);
    if (elements.has(name) || Object.hasOwn(options.ignored ?? {}, name)) continue;
    const at = pathOf(path, name, totals.get(name) ?? 1, index);
    findings.visit(at, one.line);
    findings.report('xml-unsupported', at, `element <${name}> is not supported`, hint(name));
  }
  if (names('text').size === 0 && node.text.trim() !== '') {
    findings.report('xml-invalid', path, `text ${shown(node.text.trim())} does not belong here`, 'Remove it');
  }
}

function shapeOf(name: string, field: Field<unknown>): FieldShape {
  return {
    name,
    where: field.where,
    presence: field.presence,
    hostSide: field.hostSide,
    ...(field.scalar === undefined ? {} : { scalar: field.scalar }),
    ...(field.codec === undefined ? {} : { element: field.codec.shape }),
  };
}

export type { Shape };
