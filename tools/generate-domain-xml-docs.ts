/**
 * Makes docs/domain-xml.md, the table of every element, from the vocabulary that the agents read documents with.
 *
 *   node tools/generate-domain-xml-docs.ts            writes the file
 *   node tools/generate-domain-xml-docs.ts --check    exits 1 when it is not what the code gives
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { vocabularyTable } from '../libs/domain-xml/src/index.ts';

const file = join(import.meta.dirname, '../docs/domain-xml.md');

/** A choice that an element makes by an attribute: `[@type='file']`. */
interface Choice {
  readonly at: string;
  readonly attribute: string;
  readonly value: string;
}

interface Row {
  /** `/domain/devices/disk/source`: without the choices on the way. */
  readonly element: string;
  readonly choices: readonly Choice[];
  readonly status: string;
  readonly words: string;
}

function rowOf(line: string): Row {
  const [, path = '', status = '', words = ''] =
    /^\| `?([^|`]+)`?(?: and[^|]*)? \| ([^|]*?) \| (.*?) ?\|$/.exec(line) ?? [];
  if (path === '') throw new Error(`the table has a row that is none: ${line}`);
  const choices: Choice[] = [];
  let element = '';
  for (const piece of path.split(/(\[@[^\]]*\])/)) {
    const [, attribute, value] = /^\[@([^=]+)='(.*)'\]$/.exec(piece) ?? [];
    if (attribute === undefined || value === undefined) element += piece;
    else choices.push({ at: element, attribute, value });
  }
  return { element, choices, status, words };
}

/** One row for all the kinds of an element that are alike; the kinds are named where not all of them are. */
function merged(rows: readonly Row[]): string[] {
  const kinds = new Map<string, Set<string>>();
  for (const { choices, status } of rows) {
    if (status === 'refused') continue;
    for (const { at, value } of choices) kinds.set(at, (kinds.get(at) ?? new Set()).add(value));
  }
  const alike = Map.groupBy(rows, ({ element, choices, status, words }) =>
    [element, status, words, ...choices.map(({ at, attribute }) => `${at}@${attribute}`)].join('\0'),
  );
  return [...alike.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const values = first.choices.map((_, i) => [...new Set(group.map(({ choices }) => choices[i]?.value ?? ''))]);
    const combinations = values.reduce((product, { length }) => product * length, 1);
    // Kinds within kinds of which only some go together stay apart.
    if (combinations !== group.length)
      return group.map((row) =>
        lineOf(
          row,
          row.choices.map(({ value }) => [value]),
          kinds,
        ),
      );
    return [lineOf(first, values, kinds)];
  });
}

function lineOf(
  row: Row,
  values: readonly (readonly string[])[],
  kinds: ReadonlyMap<string, ReadonlySet<string>>,
): string {
  const path = row.choices.toReversed().reduce((text, { at, attribute }, back) => {
    const given = values[row.choices.length - 1 - back] ?? [];
    const all = [...(kinds.get(at) ?? [])].every((value) => given.includes(value)) && row.element !== at;
    const predicate = all ? '' : `[@${attribute}='${given.join("' or '")}']`;
    return `${text.slice(0, at.length)}${predicate}${text.slice(at.length)}`;
  }, row.element);
  return `| \`${path}\` | ${row.status} | ${row.words} |`;
}

const head = `# Domain XML

What Ferry makes of each element of a [libvirt domain document](https://libvirt.org/formatdomain.html). Whatever is not in here is refused, too, by its
name and place; nothing is dropped silently. \`ferry xml complete FILE…\` says what becomes of a document,
\`ferry check FILE\` whether it could run and migrate.

- **supported**: read, checked, part of QEMU's command line where it has one, and written back. An attribute with \`?\` may be left out.
- **supported, host only**, and what is *in italics*: the guest cannot see it, so it may differ between source and destination (\`ferry migrate --xml\`).
  Everything else must be the same on both.
- **ignored**: read over, as libvirt ignores it, for the reason given.
- **refused**: known, and not supported; the hint says what to do instead.

A choice in brackets, like \`[@type='file' or 'block']\`, says which kinds of the element a row is of; a row without one is of all of them.

This page is made by \`node tools/generate-domain-xml-docs.ts\`; a test compares it with the code.
`;

const tableHead = '| element | status | attributes and text |\n| --- | --- | --- |';

function documentOf(table: string): string {
  const lines = table.trimEnd().split('\n').slice(2);
  const [kept = '', ...rest] = lines;
  const rows = rest.map(rowOf);
  const deviceOf = ({ element }: Row): string => /^\/domain\/devices\/([^/@]+)/.exec(element)?.[1] ?? '';
  const known = new Set(rows.filter(({ status }) => status !== 'refused').map(deviceOf));
  const sections = [...Map.groupBy(rows, (row) => (known.has(deviceOf(row)) ? deviceOf(row) : 'Refused devices'))];
  const text = sections.map(([device, of]) => {
    const heading = device === '' ? '## The machine' : `## ${device}`;
    return [heading, '', tableHead, ...(device === '' ? [kept] : []), ...merged(of)].join('\n');
  });
  return `${[head.trimEnd(), ...text].join('\n\n')}\n`;
}

const made = documentOf(vocabularyTable());
if (!process.argv.includes('--check')) {
  writeFileSync(file, made);
} else if (readFileSync(file, 'utf8') !== made) {
  process.stderr.write('docs/domain-xml.md is not what the code gives: run node tools/generate-domain-xml-docs.ts\n');
  process.exitCode = 1;
}
