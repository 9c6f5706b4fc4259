/** How people read what the wire says in numbers. */
import { type Domain, DomainState, domainStateToJSON } from '@ferry/proto/ferry/v1/domains';
import {
  type Outcome,
  outcomeToJSON,
  type Phase,
  phaseToJSON,
  type Side,
  sideToJSON,
} from '@ferry/proto/ferry/v1/migration';

/** `PHASE_CONFIRM3_CANCELLED` → `confirm3-cancelled`: the names that libvirt and the job record use; `unknown` for a newer agent's. */
const word = (constant: string, prefix: string): string =>
  constant.startsWith(prefix) ? constant.slice(prefix.length).toLowerCase().replaceAll('_', '-') : 'unknown';

export const phaseWord = (phase: Phase): string => word(phaseToJSON(phase), 'PHASE_');
export const sideWord = (side: Side): string => word(sideToJSON(side), 'SIDE_');
export const outcomeWord = (outcome: Outcome): string => word(outcomeToJSON(outcome), 'OUTCOME_');
export const stateWord = (state: DomainState): string => word(domainStateToJSON(state), 'DOMAIN_STATE_');

const holding: ReadonlySet<DomainState> = new Set([
  DomainState.DOMAIN_STATE_RUNNING,
  DomainState.DOMAIN_STATE_PAUSED,
  DomainState.DOMAIN_STATE_SHUTDOWN,
  DomainState.DOMAIN_STATE_CRASHED,
  DomainState.DOMAIN_STATE_SUSPENDED,
]);

/** Whether a host has the guest itself, not a place for it or what it left behind. */
export const holdsGuest = ({ state }: Domain): boolean => holding.has(state);

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `268435456` → `256 MiB`: three digits that count, or all of a whole number below 1024. */
export function bytes(amount: bigint | number): string {
  let value = Number(amount);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value)} ${units[unit] ?? ''}`;
}

/** Microseconds → `850 µs`, `18.3 ms`, `2.31 s`. */
export function duration(microseconds: bigint | number): string {
  const us = Number(microseconds);
  if (us < 1_000) return `${digits(us)} µs`;
  if (us < 1_000_000) return `${digits(us / 1_000)} ms`;
  return `${digits(us / 1_000_000)} s`;
}

const digits = (value: number): string => {
  const decimals = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toFixed(decimals);
};

/** Rows as columns, two spaces apart; the last one as long as it likes. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}
