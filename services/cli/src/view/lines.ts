/** Plain lines, for a pipe or a log: each with the time since the migration's first one. */
import type { MigrationEvent } from '@ferry/proto/ferry/v1/migration';
import type { MigrationPlan, MigrationView } from '../migration.ts';
import { duration, phaseWord, sideWord } from '../words.ts';
import { doubtText, endText, headline, holdText, progressText, summary } from './text.ts';

/** Progress comes up to several times a second; a log is read later. */
const progressEveryMs = 500;

/** `write` takes text with its line ends. */
export function linesView(
  plan: MigrationPlan,
  write: (text: string) => void,
  now: () => number = Date.now,
): MigrationView {
  let startedMs: number | undefined;
  let progressMs = Number.NEGATIVE_INFINITY;
  const line = (atMs: number, who: string, what: string) => {
    startedMs ??= atMs;
    const elapsed = (Math.max(0, atMs - startedMs) / 1000).toFixed(3).padStart(8);
    write(`${elapsed} s  ${who.padEnd(6)}  ${what}\n`);
  };
  write(`${headline(plan)}\n`);

  const show = ({ at, event }: MigrationEvent) => {
    const atMs = at?.getTime() ?? now();
    switch (event?.$case) {
      case 'phaseChanged': {
        const { side, phase, done, tookUs } = event.value;
        line(atMs, sideWord(side), `${phaseWord(phase).padEnd(17)} ${done ? `done in ${duration(tookUs)}` : 'began'}`);
        return;
      }
      case 'progress': {
        if (atMs - progressMs < progressEveryMs) return;
        progressMs = atMs;
        line(atMs, 'memory', progressText(event.value.statistics));
        return;
      }
      case 'switchover':
        line(
          atMs,
          sideWord(event.value.side),
          sideWord(event.value.side) === 'source' ? 'guest stopped' : 'guest runs',
        );
        return;
      case 'hold':
        line(atMs, 'source', holdText(event.value.cause));
        return;
      case 'doubt':
        line(atMs, 'source', doubtText(event.value));
        return;
      case 'ended':
      case undefined:
        return;
    }
  };

  return {
    event: show,
    note: (text) => line(now(), 'ferry', text),
    async end(end) {
      write(`${endText(end, plan)}\n${end.kind === 'completed' ? summary(end.statistics) : ''}`);
    },
  };
}
