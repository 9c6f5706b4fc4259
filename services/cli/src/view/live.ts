/** A terminal's view: one row a phase, in the protocol's order, progress below the row where the time goes. */
import { styleText } from 'node:util';
import type { MigrationEvent, MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { Listr, type DefaultRenderer, type ListrTask, type ListrTaskWrapper, type SimpleRenderer } from 'listr2';
import type { MigrationEnd, MigrationPlan, MigrationView } from '../migration.ts';
import { duration, phaseWord, sideWord } from '../words.ts';
import { doubtText, endText, headline, holdText, progressText, summary } from './text.ts';
import { printable } from './printable.ts';

type Wrapper = ListrTaskWrapper<unknown, typeof DefaultRenderer, typeof SimpleRenderer>;

const rowsOf: Readonly<Record<2 | 3, readonly [phase: string, title: string][]>> = {
  3: [
    ['begin3', 'Begin    source       takes the job, checks that the guest can leave'],
    ['prepare', 'Prepare  destination  starts a QEMU that waits for the guest'],
    ['perform3', 'Perform  source       sends memory while the guest runs, then stops it'],
    ['finish3', 'Finish   destination  lets the guest run'],
    ['confirm3', 'Confirm  source       ends its copy'],
  ],
  2: [
    ['prepare', 'Prepare  destination  starts a QEMU that waits for the guest'],
    ['perform2', 'Perform  source       sends memory while the guest runs, then stops it'],
    ['finish2', 'Finish   destination  lets the guest run'],
  ],
};

/** So that the times stand below each other. */
const titleWidth = 73;

/** One row: shown as running from when Listr reaches it until its phase is done. */
class Row {
  readonly #done = Promise.withResolvers<void>();
  readonly #title: string;
  #wrapper: Wrapper | undefined;
  #text: string;
  #over = false;

  constructor(title: string) {
    this.#title = title;
    this.#text = title;
    // A row that Listr never reaches has nobody who waits for it.
    this.#done.promise.catch(() => undefined);
  }

  task(): ListrTask<unknown, typeof DefaultRenderer, typeof SimpleRenderer> {
    return {
      title: this.#text,
      task: (_, wrapper) => {
        this.#wrapper = wrapper;
        wrapper.title = this.#text;
        return this.#done.promise;
      },
    };
  }

  /** Text below the title, while it runs. */
  set output(text: string) {
    if (this.#wrapper !== undefined) this.#wrapper.output = text;
  }

  /** The first end counts. */
  finish(note: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#text = `${this.#title.padEnd(titleWidth)}  ${note}`;
    if (this.#wrapper !== undefined) this.#wrapper.title = this.#text;
    this.#done.resolve();
  }

  fail(why: string): void {
    this.#over = true;
    this.#done.reject(new Error(why));
  }
}

/** Draws on this process's stdout, which must be a terminal. */
export function liveView(plan: MigrationPlan): MigrationView {
  const rows = new Map(rowsOf[plan.protocol ?? 3].map(([phase, title]) => [phase, new Row(title)]));
  process.stdout.write(`${styleText('bold', printable(headline(plan)))}\n`);
  const list = new Listr(
    [...rows.values()].map((row) => row.task()),
    {
      rendererOptions: { showErrorMessage: false, collapseErrors: false, formatOutput: 'truncate' },
      // Ctrl-C is a request to us, not the end of the picture.
      registerSignalListeners: false,
    },
  );
  const drawn = list.run().catch(() => undefined);
  let current: Row | undefined;

  const show = ({ event }: MigrationEvent) => {
    switch (event?.$case) {
      case 'phaseChanged': {
        const { phase, done, tookUs } = event.value;
        const row = rows.get(phaseWord(phase));
        if (row === undefined) return;
        if (done) row.finish(styleText('dim', duration(tookUs)));
        else current = row;
        return;
      }
      case 'progress':
        if (current !== undefined) current.output = barred(event.value.statistics);
        return;
      case 'switchover':
        if (current !== undefined)
          current.output = sideWord(event.value.side) === 'source' ? 'guest stopped' : 'guest runs';
        return;
      case 'hold':
        if (current !== undefined) current.output = printable(holdText(event.value.cause));
        return;
      case 'doubt':
        if (current !== undefined) current.output = printable(doubtText(event.value));
        return;
      case 'ended':
      case undefined:
        return;
    }
  };

  return {
    event: show,
    note(text) {
      if (current !== undefined) current.output = printable(text);
    },
    async end(end) {
      settle(end, [...rows.values()]);
      await drawn;
      const good = end.kind === 'completed';
      process.stdout.write(
        `${styleText(good ? 'green' : 'yellow', printable(endText(end, plan)))}\n${good ? summary(end.statistics) : ''}`,
      );
    },
  };
}

/** Rows that have ended keep what they show. */
function settle(end: MigrationEnd, rows: readonly Row[]): void {
  for (const row of rows) {
    if (end.kind === 'completed') row.finish('');
    else row.fail(end.kind);
  }
}

const barWidth = 24;

/** How much of the memory is left in the present pass, as a bar, before the figures. */
function barred(statistics: MigrationStatistics | undefined): string {
  if (statistics === undefined || statistics.memoryTotalBytes === 0n) return progressText(statistics);
  const left = Number(statistics.memoryRemainingBytes) / Number(statistics.memoryTotalBytes);
  const full = Math.round(barWidth * (1 - Math.min(1, Math.max(0, left))));
  return `${'█'.repeat(full)}${'░'.repeat(barWidth - full)}  ${progressText(statistics)}`;
}
