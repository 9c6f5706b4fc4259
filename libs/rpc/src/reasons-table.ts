/** The table of reasons as docs/operations.md has it. */
import { status } from '@grpc/grpc-js';
import { type ReasonRow, reasons } from './reasons.ts';

const sideLetter = { source: 'S', dest: 'D', both: 'B' } as const;

function lineOf([reason, row]: [string, ReasonRow]): string {
  const { code, retryable, side, meaning, hint, see } = row;
  const advice = [hint, see].filter((part) => part !== undefined && part !== '').join('; ');
  const cells = [`\`${reason}\``, status[code], retryable ? 'yes' : 'no', sideLetter[side], meaning, advice];
  return `| ${cells.join(' | ')} |`;
}

const head = ['| Reason | gRPC code | Retryable | Side | Meaning | What to do |', '|---|---|---|---|---|---|'];
export const reasonsTable = (): string => [...head, ...Object.entries(reasons).map(lineOf), ''].join('\n');
