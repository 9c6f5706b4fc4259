/**
 * Guests that are sent at once from one host stop each other's processors as they switch over: so many begin together, and the next as one is
 * stopped no more, or after a while, since a big guest takes long before it is stopped and needs nobody's turn then.
 */
import { availableParallelism } from 'node:os';
import { Turns } from '@ferry/hypervisor';

/** A small guest has been sent by then, ms. */
const turnMs = 2_000;

/** One agent's turns. */
export const sendingTurns = (): Turns => new Turns(Math.max(2, availableParallelism()));

/** Waits for a turn to send a guest. Throws the signal's reason. */
export async function takeSendingTurn(turns: Turns, signal: AbortSignal): Promise<Disposable> {
  const turn = await turns.take(signal);
  const timer = setTimeout(() => turn.end(), turnMs);
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      turn.end();
    },
  };
}
