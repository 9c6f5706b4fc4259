import type { FieldShape, Shape } from './codec/element.ts';
import { document } from './vocabulary/domain.ts';

/**
 * The vocabulary as a Markdown table, one row an element: what is supported, what is read over as libvirt does, and what is refused
 * with which advice. Whatever is not in it is refused too.
 */
export function vocabularyTable(): string {
  const head = [
    '| element | status | attributes and text (*in italics: only the host sees it*) |',
    '| --- | --- | --- |',
    '| `/domain/metadata` and elements of foreign namespaces | kept byte for byte | |',
  ];
  return `${[...head, ...rowsOf('/domain', document.shape, false)].join('\n')}\n`;
}

function rowsOf(path: string, shape: Shape, hostSide: boolean): string[] {
  if (shape.choice !== undefined) {
    const { attribute, cases } = shape.choice;
    const alternatives = Object.entries(cases).flatMap(([word, one]) =>
      rowsOf(`${path}[@${attribute}='${word}']`, one, hostSide),
    );
    const refused = Object.entries(shape.refused).map(([word, hint]) =>
      row(`${path}[@${attribute}='${word}']`, 'refused', hint),
    );
    return [...alternatives, ...refused];
  }
  const parts = shape.fields.filter((field) => field.where !== 'child').map((field) => partOf(field, hostSide));
  const own = shape.text === undefined ? [] : [accepted(shape.text.accepts)];
  const inner = shape.fields.flatMap((field) =>
    field.where === 'child' && field.element !== undefined
      ? rowsOf(`${path}/${field.name}`, field.element, hostSide || field.hostSide)
      : [],
  );
  return [
    row(path, hostSide ? 'supported, host only' : 'supported', [...parts, ...own].join('; ')),
    ...inner,
    ...Object.entries(shape.ignored).map(([name, why]) => row(below(path, name), 'ignored', why)),
    ...Object.entries(shape.refused).map(([name, hint]) => row(below(path, name), 'refused', hint)),
  ];
}

const below = (path: string, name: string): string => `${path}/${name}`;
const accepted = (words: string): string => words.replaceAll('|', '\\|');
const row = (path: string, status: string, words: string): string => `| \`${path}\` | ${status} | ${accepted(words)} |`;

function partOf({ name, where, scalar, presence, hostSide }: FieldShape, within: boolean): string {
  const words = scalar?.accepts ?? '';
  const label = where === 'text' ? 'text' : `\`${name}\`${presence === 'required' ? '' : '?'}`;
  const part = `${label}: ${words}`;
  return hostSide && !within ? `*${part}*` : part;
}
