/** Ctrl-C, SIGTERM and a closed terminal end a command of the lab in good order. */

/** Aborts at the first of these signals; from then on they are ignored, so that a second one cannot stop the cleaning up. */
export function untilInterrupted(): AbortSignal {
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => interrupted.abort(new Error(`${name} received`)));
  }
  return interrupted.signal;
}
