import type { ElementCodec } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, child, hostSide, optionalAttribute, optionalText } from '../codec/fields.ts';
import { oneOf, path } from '../codec/scalar.ts';

/** Where UEFI firmware keeps its variables. */
export interface Nvram {
  /** Absent: the path is the element's text, and a file's. */
  readonly type?: 'file' | 'block';
  readonly path?: string;
  readonly format?: 'raw' | 'qcow2';
  /** What a store that is not there yet is made from. */
  readonly template?: string;
  readonly templateFormat?: 'raw' | 'qcow2';
}

const format = oneOf('raw', 'qcow2');
const common = {
  template: hostSide(optionalAttribute(path)),
  templateFormat: hostSide(optionalAttribute(format)),
  format: optionalAttribute(format),
};
const plain = element({ ...common, path: hostSide(optionalText(path)) });
const typed = choice(
  'type',
  {
    file: element({ ...common, source: hostSide(child(element({ file: attribute(path) }))) }),
    block: element({ ...common, source: hostSide(child(element({ dev: attribute(path) }))) }),
  },
  { hostSide: true, refused: { network: 'Use a file: it can be made from the template on each host' } },
);

/** Two spellings of one thing, so it is put together by hand. */
export const nvram: ElementCodec<Nvram> = {
  decode: (node, at, findings) => {
    const before = findings.problems.length;
    const value = decodePlaceOf(node, at, findings);
    if (value === undefined || findings.problems.length > before) return undefined;
    if (
      value.template !== undefined &&
      (value.templateFormat ?? 'raw') !== (value.format ?? value.templateFormat ?? 'raw')
    ) {
      const what = 'the store has another format than its template';
      findings.report(
        'xml-unsupported',
        `${at}/@templateFormat`,
        what,
        'Make the store first, or give both one format',
      );
      return undefined;
    }
    return value;
  },
  encode: (name, { type, path: file, ...rest }, guestOnly) => {
    if (type === undefined || file === undefined)
      return plain.encode(name, { ...rest, ...(file === undefined ? {} : { path: file }) }, guestOnly);
    if (type === 'file') return typed.encode(name, { type, ...rest, source: { file } }, guestOnly);
    return typed.encode(name, { type, ...rest, source: { dev: file } }, guestOnly);
  },
  shape: plain.shape,
};

function decodePlaceOf(...[node, at, findings]: Parameters<ElementCodec<Nvram>['decode']>): Nvram | undefined {
  if (!node.attributes.has('type')) return plain.decode(node, at, findings);
  const value = typed.decode(node, at, findings);
  if (value === undefined) return undefined;
  const { source, ...rest } = value;
  return { ...rest, path: 'file' in source ? source.file : source.dev };
}
