/** What a migration is called by in metrics, traces and the log. */
import type { Ongoing } from './ongoing.ts';

/** The hosts that it leaves and goes to, by name; "" where this one does not know the other's. */
export function hostsOf(host: string, { start, peer }: Ongoing): { readonly from: string; readonly to: string } {
  return start.side === 'source' ? { from: host, to: peer } : { from: peer, to: host };
}

/** How it ended, and why if it has failed: the first cause. */
export function failureLabels({ outcomeWord, failure }: Ongoing): {
  readonly 'ferry.outcome': string;
  readonly 'ferry.reason'?: string;
} {
  const outcome = { 'ferry.outcome': outcomeWord ?? '' };
  return failure === undefined ? outcome : { ...outcome, 'ferry.reason': failure.reason };
}
