import { GuestError } from './errors.ts';

/** Bytes: a number, or as the guest's command line spells it: `64M`, `4K`, `1G`. */
export type Size = number | string;

/** What the guest is asked to do. */
export interface GuestOptions {
  /** Size of the working set; a multiple of 4 KiB. Default 1 MiB. */
  readonly dirty?: Size;
  /** Bytes dirtied per second, by whole pages of 4 KiB; a multiple of 1 KiB. Default 0: idle. */
  readonly rate?: Size;
  /** Milliseconds between ticks, 1 to 1000. Default 10. */
  readonly tickMs?: number;
  /** Milliseconds in which all of the working set is read once, also what is not overwritten. Default 1000. */
  readonly sweepMs?: number;
  /** Makes the contents of this guest differ from those of others; 32 bits. Default 0. */
  readonly seed?: number;
}

/** The same, complete and checked. */
export interface GuestConfig {
  readonly dirtyBytes: number;
  readonly rateBytesPerSecond: number;
  readonly tickMs: number;
  readonly sweepMs: number;
  readonly seed: number;
}

const PAGE_BYTES = 4096;
const UINT32_MAX = 0xffffffff;

/** Completes and checks options by the guest's own rules. Throws GuestError `config-invalid`. */
export function guestConfig(options: GuestOptions = {}): GuestConfig {
  const config = {
    dirtyBytes: bytesOf(options.dirty ?? '1M'),
    rateBytesPerSecond: bytesOf(options.rate ?? 0),
    tickMs: options.tickMs ?? 10,
    sweepMs: options.sweepMs ?? 1000,
    seed: options.seed ?? 0,
  };
  check('dirty', config.dirtyBytes, PAGE_BYTES, UINT32_MAX, PAGE_BYTES);
  check('rate', config.rateBytesPerSecond, 0, UINT32_MAX, 1024);
  check('tick', config.tickMs, 1, 1000, 1);
  check('sweep', config.sweepMs, 1, 3_600_000, 1);
  check('seed', config.seed, 0, UINT32_MAX, 1);
  return config;
}

/** The text of the guest's fw_cfg file `opt/ferry.guest`. It has no comma, so `-fw_cfg name=…,string=…` carries it as it is. */
export function configText(config: GuestConfig): string {
  const { dirtyBytes, rateBytesPerSecond, tickMs, sweepMs, seed } = config;
  return `dirty=${dirtyBytes} rate=${rateBytesPerSecond} tick=${tickMs} sweep=${sweepMs} seed=${seed}`;
}

function bytesOf(size: Size): number {
  if (typeof size === 'number') return size;
  const [, digits, unit] = /^(\d{1,10})([KMG]?)$/.exec(size) ?? [];
  if (digits === undefined) throw new GuestError('config-invalid', `${JSON.stringify(size)} is not a size like 64M`);
  return Number(digits) * 1024 ** ['', 'K', 'M', 'G'].indexOf(unit ?? '');
}

function check(name: string, value: number, min: number, max: number, multipleOf: number): void {
  if (Number.isInteger(value) && value >= min && value <= max && value % multipleOf === 0) return;
  const step = multipleOf === 1 ? '' : ` in steps of ${multipleOf}`;
  throw new GuestError('config-invalid', `${name} is ${value}, must be ${min} to ${max}${step}`);
}
