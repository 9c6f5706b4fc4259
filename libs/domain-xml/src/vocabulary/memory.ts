import type { XmlNode } from '../xml/read.ts';
import type { ElementCodec } from '../codec/element.ts';
import { element } from '../codec/element-codec.ts';
import { attribute, attributeOr, hostSide, optionalAttribute, text } from '../codec/fields.ts';
import { bool, integer, oneOf } from '../codec/scalar.ts';

const scales: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  KB: 1000,
  k: 1024,
  KiB: 1024,
  MB: 1000 ** 2,
  M: 1024 ** 2,
  MiB: 1024 ** 2,
  GB: 1000 ** 3,
  G: 1024 ** 3,
  GiB: 1024 ** 3,
  TB: 1000 ** 4,
  T: 1024 ** 4,
  TiB: 1024 ** 4,
};
const written = element({
  unit: attributeOr(oneOf('KiB', 'b', 'bytes', 'KB', 'k', 'MB', 'M', 'MiB', 'GB', 'G', 'GiB', 'TB', 'T', 'TiB'), 'KiB'),
  value: text(integer(1, 2 ** 42)),
});

/**
 * An amount of memory in KiB; other units are rounded up to it, as libvirt does
 * (formatdomain.html#memory-allocation: "the value will be rounded up to the nearest kibibyte").
 */
export const memoryKib: ElementCodec<number> = {
  decode: (node, path, findings) => {
    const value = written.decode(node, path, findings);
    if (value === undefined) return undefined;
    const kib = Math.ceil((value.value * (scales[value.unit] ?? 1024)) / 1024);
    if (kib <= 2 ** 42) return kib;
    findings.report('xml-invalid', path, 'this is more than 4 PiB', 'Check the unit');
    return undefined;
  },
  encode: (name, kib, guestOnly) => written.encode(name, { unit: 'KiB', value: kib }, guestOnly),
  shape: written.shape,
};

const anyAmount = element({
  unit: attributeOr(oneOf('KiB', 'b', 'bytes', 'KB', 'k', 'MB', 'M', 'MiB', 'GB', 'G', 'GiB', 'TB', 'T', 'TiB'), 'KiB'),
  value: text(integer(0, 9_007_199_254_740_991)),
});

/** Likewise, up to libvirt's word for no limit. */
export const anyMemoryKib: ElementCodec<number> = {
  decode: (node, path, findings) => {
    const value = anyAmount.decode(node, path, findings);
    return value && Math.min(Math.ceil((value.value * (scales[value.unit] ?? 1024)) / 1024), Number.MAX_SAFE_INTEGER);
  },
  encode: (name, kib, guestOnly) => anyAmount.encode(name, { unit: 'KiB', value: kib }, guestOnly),
  shape: anyAmount.shape,
};

/** The same where a bare number counts MiB, which other sizes do not: the memory of SMM (virDomainFeaturesDefParse). */
export const memoryInMib: ElementCodec<number> = {
  ...memoryKib,
  decode: (node, path, findings) => {
    const attributes = node.attributes.has('unit') ? node.attributes : new Map([...node.attributes, ['unit', 'MiB']]);
    return memoryKib.decode({ ...node, attributes }, path, findings);
  },
};

const anySize = element({
  unit: attributeOr(oneOf('bytes', 'b', 'KB', 'k', 'KiB', 'kiB', 'MB', 'M', 'MiB', 'GB', 'G', 'GiB'), 'bytes'),
  value: text(integer(0, 2 ** 50)),
});

/** A size in bytes, whatever unit it is given in. */
export const sizeInBytes: ElementCodec<number> = {
  decode: (node, path, findings) => {
    const value = anySize.decode(node, path, findings);
    return value && value.value * (scales[value.unit === 'kiB' ? 'KiB' : value.unit] ?? 1);
  },
  encode: (name, bytes, guestOnly) => anySize.encode(name, { unit: 'bytes', value: bytes }, guestOnly),
  shape: anySize.shape,
};

const dumped = element({
  dumpCore: hostSide(optionalAttribute(bool('on', 'off'))),
  unit: attributeOr(oneOf('KiB'), 'KiB'),
  value: text(integer(1, 2 ** 42)),
});

/** All memory of the guest in KiB, and whether it is part of a core dump of QEMU. */
export const mainMemory: ElementCodec<{ readonly kib: number; readonly dumpCore?: boolean }> = {
  decode: (node, path, findings) => {
    const attributes = new Map(node.attributes);
    attributes.delete('dumpCore');
    const kib = memoryKib.decode({ ...node, attributes }, path, findings);
    const asked = node.attributes.get('dumpCore');
    if (asked === undefined || kib === undefined) return kib === undefined ? undefined : { kib };
    const how = bool('on', 'off').decode(asked, findings.policy);
    if ('value' in how) return { kib, dumpCore: how.value };
    findings.report(how.kind, `${path}/@dumpCore`, how.wrong, how.hint);
    return undefined;
  },
  encode: (name, { kib, dumpCore }, guestOnly) =>
    dumped.encode(name, { ...(dumpCore === undefined ? {} : { dumpCore }), unit: 'KiB', value: kib }, guestOnly),
  shape: dumped.shape,
};

const slotted = element({
  slots: attribute(integer(1, 256)),
  unit: attributeOr(oneOf('KiB'), 'KiB'),
  value: text(integer(1, 2 ** 42)),
});

/** How far the memory of a running guest can grow, in KiB, and in how many modules. */
export const maxMemory: ElementCodec<{ readonly slots: number; readonly kib: number }> = {
  decode: (node, path, findings) => {
    const { slots, ...amount } = splitSlots(node);
    const kib = memoryKib.decode({ ...node, attributes: amount.attributes }, path, findings);
    const count = slots === undefined ? undefined : Number(slots);
    if (count === undefined || !Number.isInteger(count) || count < 1 || count > 256) {
      findings.report(
        'xml-invalid',
        `${path}/@slots`,
        'slots is not a number from 1 to 256',
        'Say how many modules there may be',
      );
      return undefined;
    }
    return kib === undefined ? undefined : { slots: count, kib };
  },
  encode: (name, { slots, kib }, guestOnly) => slotted.encode(name, { slots, unit: 'KiB', value: kib }, guestOnly),
  shape: slotted.shape,
};

function splitSlots(node: XmlNode): { slots: string | undefined; attributes: Map<string, string> } {
  const attributes = new Map(node.attributes);
  attributes.delete('slots');
  return { slots: node.attributes.get('slots'), attributes };
}
