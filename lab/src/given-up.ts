/** Whether a wait ended because its caller gave up (Ctrl-C), and not because its time was over: then that is all there is to say. */
export function givenUp(signal: AbortSignal): boolean {
  const reason: unknown = signal.reason;
  return signal.aborted && !(reason instanceof Error && reason.name === 'TimeoutError');
}
