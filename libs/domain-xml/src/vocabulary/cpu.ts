import type { ElementCodec, Of } from '../codec/element.ts';
import { choice, element, type Report, textElement } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
  optionalText,
  text,
} from '../codec/fields.ts';
import { integer, oneOf, pattern, type Scalar, token } from '../codec/scalar.ts';
import { onOff, yesNo } from './common.ts';

const topology = element({
  sockets: attribute(integer(1, 1024)),
  dies: attributeOr(integer(1, 64), 1),
  clusters: attributeOr(integer(1, 1), 1),
  cores: attribute(integer(1, 1024)),
  threads: attribute(integer(1, 64)),
});

const featureName = pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$/, 'the name of a CPU feature', ['ssse3', 'svm']);
const feature = element({
  policy: attributeOr(oneOf('force', 'require', 'optional', 'disable', 'forbid'), 'require'),
  name: attribute(featureName),
});

/** Ranges of numbers such as `0-3,8,^2`, as a list in order. */
export function numberSet(max: number): Scalar<readonly number[]> {
  return {
    decode: (raw) => {
      const wrong = {
        kind: 'xml-invalid',
        wrong: `${JSON.stringify(raw.slice(0, 60))} is not a list of numbers up to ${max}`,
        hint: 'Like 0-3,8',
      } as const;
      if (raw.length > 4096) return wrong;
      const found = new Set<number>();
      for (const part of raw.split(',')) {
        const match = /^\s*(\^?)(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part);
        const [from, to] = [Number(match?.[2]), Number(match?.[3] ?? match?.[2])];
        if (match === null || from > to || to > max) return wrong;
        for (let i = from; i <= to; i += 1)
          if (match[1] === '^') found.delete(i);
          else found.add(i);
      }
      return found.size === 0 ? wrong : { value: [...found].toSorted((a, b) => a - b) };
    },
    encode: (values) => rangesOf(values).join(','),
    accepts: `numbers up to ${max}, like 0-3,8`,
    samples: ['0', '0-1', '1'],
  };
}

/** `[0, 1, 2, 8]` as `['0-2', '8']`. */
export function rangesOf(values: readonly number[]): string[] {
  const ranges: [number, number][] = [];
  for (const value of values) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === value - 1) last[1] = value;
    else ranges.push([value, value]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
}

const cellFields = element({
  id: optionalAttribute(integer(0, 127)),
  cpus: optionalAttribute(numberSet(4095)),
  memory: attribute(integer(1, 2 ** 42)),
  unit: attributeOr(oneOf('KiB', 'MiB', 'GiB', 'TiB', 'k', 'M', 'G', 'T', 'b', 'bytes', 'KB', 'MB', 'GB'), 'KiB'),
  memAccess: optionalAttribute(oneOf('shared', 'private')),
  discard: hostSide(optionalAttribute(yesNo)),
  distances: optionalChild(
    element({
      sibling: children(element({ id: attribute(integer(0, 127)), value: attribute(integer(10, 255)) })),
    }),
  ),
});
type CellFields = Of<typeof cellFields>;
export type NumaCell = CellFields;
const unitKib: Readonly<Record<CellFields['unit'], number>> = {
  b: 1 / 1024,
  bytes: 1 / 1024,
  KB: 1000 / 1024,
  k: 1,
  KiB: 1,
  MB: 1000 ** 2 / 1024,
  M: 1024,
  MiB: 1024,
  GB: 1000 ** 3 / 1024,
  G: 1024 ** 2,
  GiB: 1024 ** 2,
  T: 1024 ** 3,
  TiB: 1024 ** 3,
};

/** A NUMA node of the guest; its memory in KiB, whatever unit it was given in. */
const cell: ElementCodec<CellFields> = {
  decode: (node, path, findings) => {
    const value = cellFields.decode(node, path, findings);
    if (value === undefined) return undefined;
    const memory = Math.ceil(value.memory * unitKib[value.unit]);
    if (memory <= 2 ** 42) return { ...value, unit: 'KiB', memory };
    findings.report('xml-invalid', `${path}/@memory`, 'this is more than 4 PiB', 'Check the unit');
    return undefined;
  },
  encode: (name, value, guestOnly) => cellFields.encode(name, value, guestOnly),
  shape: cellFields.shape,
};

const common = {
  check: hostSide(optionalAttribute(oneOf('none', 'partial', 'full'))),
  topology: optionalChild(topology),
  cache: optionalChild(
    element({ level: optionalAttribute(integer(1, 3)), mode: attribute(oneOf('emulate', 'passthrough', 'disable')) }),
  ),
  maxphysaddr: optionalChild(
    element({
      mode: attribute(oneOf('emulate', 'passthrough')),
      bits: optionalAttribute(integer(32, 64)),
      limit: optionalAttribute(integer(32, 64)),
    }),
  ),
  feature: children(feature),
  numa: optionalChild(
    element(
      { cell: children(cell) },
      { refused: { interconnects: 'QEMU needs a table of cache levels for it that Ferry does not build' } },
    ),
  ),
};

/** Of the host's own CPU what cannot be moved may be left out. */
const ofHost = { migratable: optionalAttribute(onOff), ...common };
const notOfHost = { '@migratable': 'It is about host-passthrough and maximum' };

/** What the guest reads of its processor's maker: without commas, as in libvirt (virCPUDefParseXML). */
const vendorId = pattern(/^[ -+\--~]{12}$/, 'a name of 12 characters without commas', ['KVM-KVM-KVM_', 'Libvirt QEMU']);

/** Whose processors the host must have; the guest sees its model's own (virCPUx86Compute). */
const vendor = hostSide(optionalChild(textElement(oneOf('Intel', 'AMD', 'Hygon'))));

/** The host's own is what it is; people leave these from another mode (virCPUDefParseXML). */
const ignoredOfHost = {
  '@match': 'it is about custom CPUs',
  model: 'the model is the host’s own',
  vendor: 'the model is the host’s own',
};

/** Each feature has one policy (virCPUDefParseXML). */
function checkFeatures(
  { feature: all }: { readonly feature: readonly { readonly name: string }[] },
  report: Report,
): void {
  all.forEach(({ name }, i) => {
    if (all.findIndex((one) => one.name === name) < i)
      report('xml-invalid', `/feature[${i + 1}]/@name`, `${name} is given twice`, 'Remove one');
  });
}

/** The processor. */
export const cpu = choice(
  'mode',
  {
    custom: element(
      {
        match: attributeOr(oneOf('exact', 'minimum', 'strict'), 'exact'),
        ...common,
        model: optionalChild(
          element({
            fallback: hostSide(attributeOr(oneOf('forbid', 'allow'), 'allow')),
            vendor_id: optionalAttribute(vendorId),
            name: text(token),
          }),
        ),
        vendor,
      },
      {
        check: (value, report) => {
          checkFeatures(value, report);
          if (value.model === undefined && value.feature.length > 0)
            report('xml-invalid', '', 'its features are of no model', 'Add <model>');
          if (value.model === undefined && value.vendor !== undefined)
            report('xml-invalid', '/vendor', 'it is of no model', 'Add <model>');
        },
        refused: notOfHost,
      },
    ),
    'host-passthrough': element(ofHost, {
      check: checkFeatures,
      ignored: { ...ignoredOfHost, '@fallback': 'it is about custom CPUs' },
    }),
    /** All that the accelerator can do. */
    maximum: element(ofHost, { check: checkFeatures, ignored: ignoredOfHost }),
    'host-model': element(
      {
        ...common,
        model: optionalChild(
          element({
            fallback: hostSide(optionalAttribute(oneOf('forbid', 'allow'))),
            vendor_id: optionalAttribute(vendorId),
            /** What an older libvirt found on its host. */
            name: hostSide(optionalText(token)),
          }),
        ),
        vendor,
      },
      { check: checkFeatures, refused: notOfHost, ignored: { '@match': 'it is about custom CPUs' } },
    ),
  },
  { fallback: 'custom' },
);

export type Cpu = Of<typeof cpu>;
