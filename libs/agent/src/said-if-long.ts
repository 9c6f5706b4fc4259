/** Whatever is waited for longer than a second says for what, so that nobody has to guess where the time went. */
import type { Log } from './log.ts';

const firstMs = 1_000;
const againMs = 10_000;

/** Waits, and says so in the log after 1 s and every 10 s; and once more, if it has, when the wait is over. Gives or throws what `wait` does. */
export async function saidIfLong<T>(
  log: Pick<Log, 'warn'>,
  what: string,
  labels: Readonly<Record<string, unknown>>,
  wait: Promise<T>,
): Promise<T> {
  const sinceMs = performance.now();
  let said = false;
  const say = (text: string): void => {
    said = true;
    log.warn({ ...labels, waitedMs: Math.round(performance.now() - sinceMs) }, `${text} ${what}`);
  };
  const sayAfter = (ms: number, text: string): NodeJS.Timeout =>
    setTimeout(() => {
      say(text);
      timer = sayAfter(againMs, 'still waits for');
    }, ms).unref();
  let timer = sayAfter(firstMs, 'waits for');
  try {
    return await wait;
  } finally {
    clearTimeout(timer);
    if (said) say('has waited for');
  }
}
