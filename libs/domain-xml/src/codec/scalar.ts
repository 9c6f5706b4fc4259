import type { ProblemKind, XmlPolicy } from './place.ts';

export interface Wrong {
  readonly kind: ProblemKind;
  readonly wrong: string;
  readonly hint: string;
}

/** How one attribute's or element's text is read and written. */
export interface Scalar<T> {
  /** The value, or what is wrong with the text. */
  decode(raw: string, policy: XmlPolicy): { readonly value: T } | Wrong;
  encode(value: T): string;
  /** What is accepted, for documentation and hints. */
  readonly accepts: string;
  /** Some texts that are accepted, for property tests. */
  readonly samples: readonly string[];
}

const invalid = (wrong: string, hint: string): Wrong => ({ kind: 'xml-invalid', wrong, hint });

/** A value as a message may show it: short and printable. */
export function shown(raw: string): string {
  const short = raw.length > 60 ? `${raw.slice(0, 57)}...` : raw;
  return JSON.stringify(short);
}

/** One of a list of words; any other is refused by name. */
export function oneOf<const W extends string>(...words: readonly W[]): Scalar<W> {
  return {
    decode: (raw) => {
      const value = words.find((word) => word === raw);
      if (value !== undefined) return { value };
      return {
        kind: 'xml-unsupported',
        wrong: `${shown(raw)} is not supported`,
        hint: `Supported: ${words.join(', ')}`,
      };
    },
    encode: (value) => value,
    accepts: words.join(', '),
    samples: words,
  };
}

/** `yes` or `no`, or another pair of words. */
export function bool(yes = 'yes', no = 'no'): Scalar<boolean> {
  return {
    decode: (raw) =>
      raw === yes || raw === no
        ? { value: raw === yes }
        : invalid(`${shown(raw)} is neither ${yes} nor ${no}`, `Write ${yes} or ${no}`),
    encode: (value) => (value ? yes : no),
    accepts: `${yes}, ${no}`,
    samples: [yes, no],
  };
}

/** A decimal number within bounds, both included. */
export function integer(min: number, max: number): Scalar<number> {
  return {
    decode: (raw) => {
      const text = raw.trim();
      const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
      if (value >= min && value <= max) return { value };
      return invalid(`${shown(raw)} is not a whole number from ${min} to ${max}`, 'Give a number within the bounds');
    },
    encode: (value) => String(value),
    accepts: `${min} to ${max}`,
    samples: [String(min), String(Math.min(max, min + 1)), String(max)],
  };
}

/** A number that libvirt writes as hexadecimal of so many digits and reads in either base. */
export function hex(max: number, digits: number): Scalar<number> {
  return {
    decode: (raw) => {
      const value = /^(0x[0-9a-fA-F]{1,13}|\d{1,15})$/.test(raw) ? Number(raw) : Number.NaN;
      if (value >= 0 && value <= max) return { value };
      return invalid(
        `${shown(raw)} is not a number from 0 to 0x${max.toString(16)}`,
        'Give a number within the bounds',
      );
    },
    encode: (value) => `0x${value.toString(16).padStart(digits, '0')}`,
    accepts: `0 to 0x${max.toString(16)}`,
    samples: ['0x0', `0x${max.toString(16)}`],
  };
}

/** Text that fits a pattern; `words` says in words what the pattern wants. */
export function pattern(expression: RegExp, accepts: string, samples: readonly string[]): Scalar<string> {
  return {
    decode: (raw) =>
      expression.test(raw) ? { value: raw } : invalid(`${shown(raw)} is not ${accepts}`, `Give ${accepts}`),
    encode: (value) => value,
    accepts,
    samples,
  };
}

/**
 * What libvirt takes for a name (virDomainDefPostParseCheckFeatures, virXMLCheckIllegalChars), on one line and of a length that fits everywhere; but
 * nothing that people would not see or would read for something else: no invisible or direction characters, and no UUID.
 */
export const name = pattern(
  /^(?!\s*$)(?![0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[^\p{C}\p{Zl}\p{Zp}/]{1,127}$/u,
  'a name without /, control, invisible and direction characters (at most 127, not only spaces, and no UUID)',
  ['web-1', 'a', 'Guest_7.b+c:d@e', 'a=1,b=2', '-web "ü" {1}'],
);

/** A token with the characters of device names, versions and models. */
export const token = pattern(/^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$/, 'a word of letters, digits and _ . + -', [
  'qemu64',
  'vda',
]);

/** Any text that XML can carry, kept as it is. */
export const freeText: Scalar<string> = {
  decode: (raw) => ({ value: raw }),
  encode: (value) => value,
  accepts: 'any text',
  samples: ['Web server', '<&>\'" ü ,=', 'x'],
};

/** Text for an option of its own, such as a kernel's command line: printable, on one line. */
export const printable = pattern(/^[^\p{Cc}\p{Cs}]{0,4096}$/u, 'text on one line without control characters', [
  'console=ttyS0 quiet',
  '',
  'a=b,c "d"',
]);

export const uuid: Scalar<string> = {
  decode: (raw) => {
    const digits = raw.trim().replaceAll('-', '').toLowerCase();
    if (!/^[0-9a-f]{32}$/.test(digits)) return invalid(`${shown(raw)} is not a UUID`, 'Give 32 hexadecimal digits');
    return { value: digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') };
  },
  encode: (value) => value,
  accepts: 'a UUID',
  samples: ['1ccfd97d-5eb4-478a-bbe6-88d254c16db7'],
};

export const macAddress: Scalar<string> = {
  decode: (raw) => {
    const value = raw.toLowerCase();
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(value))
      return invalid(`${shown(raw)} is not a MAC address`, 'Like 52:54:00:09:a4:37');
    if ((Number.parseInt(value.slice(0, 2), 16) & 1) === 1)
      return invalid(`${shown(raw)} is a multicast address`, 'A guest needs a unicast address');
    return { value };
  },
  encode: (value) => value,
  accepts: 'a unicast MAC address',
  samples: ['52:54:00:09:a4:37'],
};

/** A path that cannot leave its directory, whatever it is of. */
const plainPath = /^\/[^\p{Cc}\p{Cs}]{0,4094}$/u;
const hasDots = (raw: string): boolean => raw.split('/').includes('..');

/** An absolute path that is kept but that Ferry itself does not open, such as `<emulator>`. */
export const anyPath: Scalar<string> = {
  decode: (raw) =>
    plainPath.test(raw) && !raw.includes('..')
      ? { value: raw }
      : invalid(`${shown(raw)} cannot be a path here`, 'Give an absolute path without control characters or ..'),
  encode: (value) => value,
  accepts: 'an absolute path',
  samples: ['/usr/bin/qemu-system-x86_64'],
};

/** An absolute path below a directory that the configuration allows; the launcher checks what it really leads to. */
export const path: Scalar<string> = {
  decode: (raw, policy) => {
    const plain = anyPath.decode(raw, policy);
    if ('wrong' in plain) return plain;
    const within = policy.allowedRoots.some((root) => raw.startsWith(root.endsWith('/') ? root : `${root}/`));
    if (within && !hasDots(raw)) return plain;
    return invalid(
      `${shown(raw)} is outside of the directories that domains may use`,
      `Move it below ${policy.allowedRoots.join(' or ')}, or allow its directory (FERRY_DOMAIN_PATHS)`,
    );
  },
  encode: (value) => value,
  accepts: 'an absolute path below an allowed directory',
  samples: ['/var/lib/libvirt/images/guest.qcow2', '/var/lib/libvirt/images/with space, & ü.raw'],
};
