/** Which view a person, a pipe or a script gets. */
import type { MigrationPlan, MigrationView } from '../migration.ts';
import { jsonView } from './json.ts';
import { linesView } from './lines.ts';
import { liveView } from './live.ts';
import { print } from './printable.ts';

/** `--json`: JSON lines; a terminal: live; anything else: plain lines. On stdout. */
export function viewOf(plan: MigrationPlan, json: boolean): MigrationView {
  if (json) return jsonView(plan, (line) => process.stdout.write(`${line}\n`));
  if (canDraw()) return liveView(plan);
  return linesView(plan, print);
}

/** `TERM=dumb` cannot move its cursor; a terminal that does not know its size (under `script`) gets nothing drawn. */
function canDraw(): boolean {
  return process.stdout.isTTY && process.stdout.columns > 0 && process.env['TERM'] !== 'dumb';
}
