import type { Report } from '../codec/element-codec.ts';
import { optionalAttribute } from '../codec/fields.ts';
import { oneOf, type Scalar } from '../codec/scalar.ts';

/** What libvirt shows in a password's place (virDomainGraphicsAuthDefFormatAttr). */
export const maskedPassword = '*****';

/** Bounds of the protocols: VNC's DES key, SPICE's ticket. */
const lengthMax = { vnc: 8, spice: 60 } as const;

/** Never shown, not even where it is wrong. */
const password: Scalar<string> = {
  decode: (raw) =>
    /^[^\p{Cc}\p{Cs}]*$/u.test(raw)
      ? { value: raw }
      : { kind: 'xml-invalid', wrong: 'the password has control characters', hint: 'Give another' },
  encode: (value) => value,
  accepts: 'a password; never shown again. Empty, or *****: no client gets in',
  samples: ['s3cret', maskedPassword, ''],
};

const time: Scalar<string> = {
  decode: (raw) =>
    /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$/.test(raw) && Number.isFinite(Date.parse(`${raw}Z`))
      ? { value: raw }
      : { kind: 'xml-invalid', wrong: 'it is no time', hint: 'Give YYYY-MM-DDThh:mm:ss, in UTC' },
  encode: (value) => value,
  accepts: 'YYYY-MM-DDThh:mm:ss, UTC; as if it were absent without passwd',
  samples: ['2030-05-31T16:11:22'],
};

/** The words of QEMU's `set_password`, of which VNC knows the first alone. */
const others: Scalar<'keep' | 'disconnect' | 'fail'> = oneOf('keep', 'disconnect', 'fail');

export const passwordFields = {
  passwd: optionalAttribute(password),
  passwdValidTo: optionalAttribute(time),
  connected: optionalAttribute({ ...others, accepts: `${others.accepts}; as if it were absent without passwd` }),
};

/** Without a password libvirt reads neither how long it holds nor what it does to those connected (virDomainGraphicsAuthDefParseXML). */
export const withoutIdleValidity = (attributes: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  attributes.has('passwd')
    ? attributes
    : new Map([...attributes].filter(([name]) => name !== 'passwdValidTo' && name !== 'connected'));

export const checkPassword =
  (type: keyof typeof lengthMax) =>
  ({ passwd, connected }: { readonly passwd?: string; readonly connected?: string }, report: Report): void => {
    const bytes = Buffer.byteLength(passwd ?? '');
    if (bytes > lengthMax[type])
      report(
        'xml-invalid',
        '/@passwd',
        `it has ${bytes} bytes, of which ${type} takes ${lengthMax[type]}`,
        'Shorten it',
      );
    if (type === 'vnc' && connected !== undefined && connected !== 'keep')
      report('xml-invalid', '/@connected', 'VNC keeps those connected', "Use connected='keep', or leave it out");
  };
