/** Amounts on the command line. */
import { InvalidArgumentError } from 'commander';

/** `100M` → bytes (powers of 1024). Throws commander's InvalidArgumentError. */
export function parseBytes(text: string): bigint {
  const [, number, unit] = /^(\d{1,12})([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('Give a number of bytes, like 100M or 1G.');
  return BigInt(number) << BigInt(10 * ' KMGT'.indexOf((unit || ' ').toUpperCase()));
}

/** `300ms`, `1.5s`, or a plain number of milliseconds → milliseconds. Throws commander's InvalidArgumentError. */
export function parseMilliseconds(text: string): number {
  const [, number, unit] = /^(\d{1,7}(?:\.\d{1,3})?)(ms|s)?$/.exec(text) ?? [];
  const milliseconds = Number(number) * (unit === 's' ? 1000 : 1);
  if (number === undefined || !Number.isInteger(milliseconds))
    throw new InvalidArgumentError('Give a time, like 300ms or 1.5s.');
  return milliseconds;
}

/** Throws commander's InvalidArgumentError. */
export function parseUuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new InvalidArgumentError('Give a UUID.');
  return text.toLowerCase();
}
