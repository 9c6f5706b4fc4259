/** How a service manager ends an agent: SIGTERM, or Ctrl-C on a terminal. */

/** A signal that aborts when this process is asked to end. A second request ends it at once. */
export function untilAsked(): AbortSignal {
  const asked = new AbortController();
  const ask = (name: NodeJS.Signals): void => {
    if (asked.signal.aborted) process.exit(name === 'SIGINT' ? 130 : 143);
    asked.abort(new Error(`${name} received`));
  };
  process.on('SIGTERM', ask);
  process.on('SIGINT', ask);
  return asked.signal;
}
