/**
 * Makes the table of reasons in docs/operations.md from the one that agents and command line go by.
 *
 *   node tools/generate-reasons.ts            writes the table
 *   node tools/generate-reasons.ts --check    exits 1 when it is not what the code gives
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonsTable } from '../libs/rpc/src/reasons-table.ts';

const file = join(import.meta.dirname, '../docs/operations.md');
const marks = { begin: '<!-- reasons:begin -->\n', end: '<!-- reasons:end -->' };
const page = readFileSync(file, 'utf8');
const [before, rest] = page.split(marks.begin);
const after = rest?.split(marks.end)[1];
if (before === undefined || after === undefined) throw new Error(`${file} has no ${marks.begin.trim()} … ${marks.end}`);
const made = `${before}${marks.begin}${reasonsTable()}${marks.end}${after}`;
if (!process.argv.includes('--check')) {
  writeFileSync(file, made);
} else if (page !== made) {
  process.stderr.write('docs/operations.md is not what the code gives: run node tools/generate-reasons.ts\n');
  process.exitCode = 1;
}
