import type { ElementCodec, Of, Shape } from '../codec/element.ts';
import type { XmlNode } from '../xml/read.ts';
import { absentWhere, choice, element, textElement, textOrAbsent } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
} from '../codec/fields.ts';
import { integer, oneOf, path, pattern } from '../codec/scalar.ts';
import { diskAddress } from './address.ts';
import { hostName } from './chardev.ts';
import { acpiIndex, alias, boot, onOff, present, virtioModels, virtioOptions, yesNo } from './common.ts';
import { sizeInBytes } from './memory.ts';
import { type SourceLabel, sourceLabels } from './seclabel.ts';

const target = element({
  dev: attribute(pattern(/^(vd|sd|hd|fd|ub)[a-z]{1,3}$/, 'a disk name like vda or sda', ['vda', 'sda', 'hda'])),
  bus: optionalAttribute(oneOf('virtio', 'sata', 'ide', 'scsi', 'usb', 'fdc')),
  tray: optionalAttribute(oneOf('closed', 'open')),
  removable: optionalAttribute(onOff),
  rotation_rate: optionalAttribute(integer(1, 65534)),
});

/** How much of a qcow2 image's tables QEMU keeps. */
const metadataCache = element({ max_size: child(sizeInBytes) });

const driver = element(
  {
    name: hostSide(attributeOr(oneOf('qemu'), 'qemu')),
    type: hostSide(attributeOr(oneOf('raw', 'qcow2'), 'raw')),
    cache: hostSide(optionalAttribute(oneOf('default', 'none', 'writethrough', 'writeback', 'directsync', 'unsafe'))),
    error_policy: hostSide(optionalAttribute(oneOf('stop', 'report', 'ignore', 'enospace'))),
    rerror_policy: hostSide(optionalAttribute(oneOf('stop', 'report', 'ignore'))),
    io: hostSide(optionalAttribute(oneOf('threads', 'native', 'io_uring'))),
    ioeventfd: hostSide(optionalAttribute(onOff)),
    event_idx: optionalAttribute(onOff),
    discard: hostSide(optionalAttribute(oneOf('ignore', 'unmap'))),
    discard_no_unref: hostSide(optionalAttribute(onOff)),
    iothread: hostSide(optionalAttribute(integer(1, 1024))),
    detect_zeroes: hostSide(optionalAttribute(oneOf('off', 'on', 'unmap'))),
    queues: optionalAttribute(integer(1, 1024)),
    queue_size: optionalAttribute(integer(2, 1024)),
    ...virtioOptions,
    metadata_cache: hostSide(optionalChild(metadataCache)),
  },
  {
    refused: {
      '@copy_on_read': 'It fills the image from the one below while the guest reads: copy it first',
    },
  },
);

const amount = integer(0, 2 ** 50);
/** Limits on a disk's speed. */
export const iotuneNames = [
  'total_bytes_sec',
  'read_bytes_sec',
  'write_bytes_sec',
  'total_iops_sec',
  'read_iops_sec',
  'write_iops_sec',
  'total_bytes_sec_max',
  'read_bytes_sec_max',
  'write_bytes_sec_max',
  'total_iops_sec_max',
  'read_iops_sec_max',
  'write_iops_sec_max',
  'size_iops_sec',
  'total_bytes_sec_max_length',
  'read_bytes_sec_max_length',
  'write_bytes_sec_max_length',
  'total_iops_sec_max_length',
  'read_iops_sec_max_length',
  'write_iops_sec_max_length',
] as const;
const limit = optionalChild(textElement(amount));
const iotune = element(
  {
    ...(Object.fromEntries(iotuneNames.map((name) => [name, limit])) as Record<
      (typeof iotuneNames)[number],
      typeof limit
    >),
    /** Disks of one group share its limits. */
    group_name: optionalChild(
      textElement(pattern(/^[^\p{Cc}\p{Cs}]{1,128}$/u, 'a name of at most 128 characters', ['group-1'])),
    ),
  },
  {
    check: (limits, report) => {
      // virDomainDiskDefIotuneParse: a limit on all together excludes those on each.
      for (const what of ['bytes_sec', 'iops_sec', 'bytes_sec_max', 'iops_sec_max'] as const) {
        const each = [limits[`read_${what}`], limits[`write_${what}`]];
        if ((limits[`total_${what}`] ?? 0) > 0 && each.some((one = 0) => one > 0))
          report(
            'xml-invalid',
            `/total_${what}`,
            'reading and writing have limits of their own',
            'Give one or the other',
          );
      }
      const isCounted = iotuneNames.some(
        (name) => name.endsWith('iops_sec') && name !== 'size_iops_sec' && limits[name],
      );
      if ((limits.size_iops_sec ?? 0) > 0 && !isCounted)
        report('xml-invalid', '/size_iops_sec', 'no operations are counted', 'Add <total_iops_sec>');
      // QEMU takes a burst only on top of a limit, and a length only of a burst.
      for (const name of iotuneNames) {
        const base = iotuneNames.find(
          (one) => one === name.replace(/_max_length$/, '_max') || one === name.replace(/_max$/, ''),
        );
        const needs = name.endsWith('_length') ? base : name.endsWith('_max') ? base : undefined;
        if (needs === undefined || (limits[name] ?? 0) === 0 || (limits[needs] ?? 0) > 0) continue;
        report('xml-invalid', `/${name}`, `it needs ${needs}`, `Add <${needs}>`);
      }
    },
  },
);

const sourceRefused = {
  encryption: 'Ferry does not keep secrets: use an image without encryption',
  auth: 'Ferry does not keep secrets: use a source without a password',
  reservations: 'Persistent reservations are not moved between hosts',
  dataStore: 'Data files beside a qcow2 image are not supported',
  slices: 'Use an image of its own instead of a part of one',
};
const sourceOptions = { refused: sourceRefused, ignored: { '@index': 'libvirt numbers the images of running guests' } };
/** What may be missing is a medium (virDomainDiskDefValidateStartupPolicy); Ferry wants it there all the same. */
const startupPolicy = optionalAttribute(oneOf('mandatory', 'requisite', 'optional'));
const fileSource = element({ file: attribute(path), startupPolicy, seclabel: sourceLabels }, sourceOptions);
const blockSource = element({ dev: attribute(path), startupPolicy, seclabel: sourceLabels }, sourceOptions);

/** A source that names nothing is none: a drive without a medium (virDomainStorageSourceParse). */
const namesNothing = ({ attributes, children: below, text: own }: XmlNode): boolean =>
  below.length === 0 &&
  own.trim() === '' &&
  [...attributes].every(
    ([key, value]) => key === 'index' || key === 'startupPolicy' || ((key === 'file' || key === 'dev') && value === ''),
  );

const host = element({
  name: optionalAttribute(hostName),
  port: optionalAttribute(integer(1, 65535)),
  transport: optionalAttribute(oneOf('tcp', 'unix')),
  socket: optionalAttribute(path),
});
const volumeName = pattern(/^[A-Za-z0-9_.:/+~-]{1,255}$/, 'a name of letters, digits and _ . : / + ~ -', [
  'pool/image',
]);
const hosts = children(host);
/** Ferry has no TLS set-up for disks. */
const tls = optionalAttribute(oneOf('no'));
/** A path below the server, as it was before it is put into a URL. */
const webName = pattern(/^[^\p{Cc}\p{Cs}]{1,1024}$/u, 'a path on one line', ['image.iso', 'a b?c']);
const volume = { name: attribute(volumeName), tls, host: hosts };
const seconds = integer(1, 2 ** 31 - 1);
const web = {
  ...volume,
  name: attribute(webName),
  query: optionalAttribute(pattern(/^[A-Za-z0-9_.:/?=&%+~-]{1,1024}$/, 'what may follow the ? of a URL', ['a=b&c'])),
  readahead: optionalChild(element({ size: attribute(seconds) })),
  timeout: optionalChild(element({ seconds: attribute(seconds) })),
};
const secure = { ...web, ssl: optionalChild(element({ verify: attribute(yesNo) })) };
const webOptions = {
  ...sourceOptions,
  refused: { ...sourceRefused, cookies: 'Cookies are secrets: Ferry does not keep them' },
};
const networkSource = choice(
  'protocol',
  {
    nbd: element(
      {
        name: optionalAttribute(volumeName),
        tls,
        host: hosts,
        reconnect: optionalChild(element({ delay: attribute(integer(0, 2 ** 31 - 1)) })),
      },
      sourceOptions,
    ),
    rbd: element(
      {
        ...volume,
        snapshot: optionalChild(element({ name: attribute(volumeName) })),
        config: optionalChild(element({ file: attribute(path) })),
      },
      sourceOptions,
    ),
    iscsi: element(
      { ...volume, initiator: optionalChild(element({ iqn: child(element({ name: attribute(volumeName) })) })) },
      sourceOptions,
    ),
    http: element(web, webOptions),
    https: element(secure, webOptions),
    ftp: element(web, webOptions),
    ftps: element(secure, webOptions),
  },
  { refused: { ssh: 'Keys are secrets: Ferry does not keep them', nfs: 'Mount it and use a file' } },
);

/** The images below an image, as far as the document names them; an empty one ends the chain. */
export interface BackingStore {
  readonly type?: 'file' | 'block';
  readonly format?: 'raw' | 'qcow2';
  readonly path?: string;
  readonly seclabel?: readonly SourceLabel[];
  /** How much of its tables is kept, in bytes. */
  readonly metadataCache?: number;
  readonly backingStore?: BackingStore;
}

const format = child(element({ type: attribute(oneOf('raw', 'qcow2')), metadata_cache: optionalChild(metadataCache) }));
const backingLayer = choice('type', {
  file: element({ format, source: child(fileSource) }),
  block: element({ format, source: child(blockSource) }),
});

/** What the hand-written part reads over, for the documentation. */
function withIgnored(shape: Shape, ignored: Shape['ignored']): Shape {
  const { choice: alternatives } = shape;
  if (alternatives === undefined) return { ...shape, ignored: { ...shape.ignored, ...ignored } };
  const cases = Object.entries(alternatives.cases).map(([word, one]) => [word, withIgnored(one, ignored)] as const);
  return { ...shape, choice: { ...alternatives, cases: Object.fromEntries(cases) } };
}

/** Recursive, so it is written by hand; the parser's limit bounds its depth. */
const backingStore: ElementCodec<BackingStore> = {
  decode: (node, at, findings) => {
    findings.visit(at, node.line);
    if (node.children.length === 0 && !node.attributes.has('type')) return {};
    const attributes = new Map(node.attributes);
    // libvirt numbers the images of running guests.
    attributes.delete('index');
    const below = node.children.filter((one) => one.namespace === '' && one.name === 'backingStore');
    const layer = backingLayer.decode(
      { ...node, attributes, children: node.children.filter((one) => !below.includes(one)) },
      at,
      findings,
    );
    if (below.length > 1) findings.report('xml-invalid', at, '<backingStore> is given twice', 'Remove one');
    const [inner] = below;
    const next = inner && backingStore.decode(inner, `${at}/backingStore`, findings);
    if (layer === undefined || (inner !== undefined && next === undefined)) return undefined;
    return {
      type: layer.type,
      format: layer.format.type,
      path: layer.type === 'file' ? layer.source.file : layer.source.dev,
      ...(layer.source.seclabel.length === 0 ? {} : { seclabel: layer.source.seclabel }),
      ...(layer.format.metadata_cache === undefined ? {} : { metadataCache: layer.format.metadata_cache.max_size }),
      ...(next === undefined ? {} : { backingStore: next }),
    };
  },
  encode: (
    name,
    { type, format: word, path: image, seclabel = [], metadataCache: cache, backingStore: next },
    guestOnly,
  ) => {
    if (type === undefined || word === undefined || image === undefined) return { name, attributes: [], children: [] };
    const how = { type: word, ...(cache === undefined ? {} : { metadata_cache: { max_size: cache } }) };
    const out = backingLayer.encode(
      name,
      type === 'file'
        ? { type, format: how, source: { file: image, seclabel } }
        : { type, format: how, source: { dev: image, seclabel } },
      guestOnly,
    );
    if (next === undefined) return out;
    return { ...out, children: [...out.children, backingStore.encode('backingStore', next, guestOnly)] };
  },
  shape: withIgnored(backingLayer.shape, { '@index': sourceOptions.ignored['@index'] }),
};

const text = (words: string, max: number, sample: string) =>
  optionalChild(
    textOrAbsent(
      pattern(new RegExp(`^[A-Za-z0-9 _.+-]{1,${max}}$`), `${words} of letters, digits, space and _ . + -`, [sample]),
    ),
  );

const common = {
  device: attributeOr(oneOf('disk', 'cdrom', 'floppy'), 'disk'),
  /** How others make snapshots of it: Ferry makes none. */
  snapshot: hostSide(optionalAttribute(oneOf('no', 'internal', 'external', 'manual'))),
  model: optionalAttribute(oneOf(...virtioModels)),
  driver: optionalChild(driver),
  backingStore: hostSide(optionalChild(backingStore)),
  target: child(target),
  iotune: hostSide(optionalChild(iotune)),
  readonly: optionalChild(present),
  shareable: hostSide(optionalChild(present)),
  serial: text('a serial number', 256, 'WD-1'),
  wwn: optionalChild(textElement(pattern(/^(0x)?[0-9a-fA-F]{16}$/, '16 hexadecimal digits', ['5000c50015ea71ad']))),
  vendor: text('a vendor name', 8, 'SEAGATE'),
  product: text('a product name', 16, 'ST3146707LC'),
  blockio: optionalChild(
    element({
      logical_block_size: optionalAttribute(integer(512, 2 ** 21)),
      physical_block_size: optionalAttribute(integer(512, 2 ** 21)),
      discard_granularity: optionalAttribute(integer(0, 2 ** 32 - 1)),
    }),
  ),
  geometry: optionalChild(
    element({
      cyls: attribute(integer(1, 65535)),
      heads: attribute(integer(1, 255)),
      secs: attribute(integer(1, 255)),
      trans: optionalAttribute(oneOf('auto', 'none', 'lba')),
    }),
  ),
  boot,
  acpi: acpiIndex,
  alias,
  address: optionalChild(diskAddress),
};

type Common = {
  readonly device: string;
  readonly driver?: Of<typeof driver>;
  readonly source?: object;
};
const options = {
  ignored: { mirror: 'libvirt reports it of running guests' },
  refused: {
    transient: 'A disk that forgets its changes is not moved',
    encryption: sourceRefused.encryption,
    auth: sourceRefused.auth,
    '@rawio': 'Raw access to host devices is not moved',
    '@sgio': 'SCSI commands to host devices are not moved',
    throttlefilters: 'Use <iotune>',
  },
  check: (
    { device, driver: how, source }: Common,
    report: Parameters<NonNullable<Parameters<typeof element>[1] & object>['check'] & object>[1],
  ) => {
    const policy = source !== undefined && 'startupPolicy' in source ? String(source.startupPolicy) : 'mandatory';
    if (device === 'disk' && policy !== 'mandatory') {
      const hint = 'Ferry never starts a guest without one of its disks: remove it, or the disk';
      report('xml-unsupported', '/source/@startupPolicy', `a disk that is ${policy} is not supported`, hint);
    }
    if (how?.io === 'native' && how.cache !== 'none' && how.cache !== 'directsync') {
      report('xml-invalid', '/driver/@io', "io='native' needs a disk without host cache", "Add cache='none'");
    }
  },
};

/** A disk of the guest. */
export const disk = choice(
  'type',
  {
    file: element({ source: hostSide(optionalChild(absentWhere(namesNothing, fileSource))), ...common }, options),
    block: element({ source: hostSide(optionalChild(absentWhere(namesNothing, blockSource))), ...common }, options),
    network: element({ source: hostSide(optionalChild(networkSource)), ...common }, options),
  },
  {
    fallback: 'file',
    hostSide: true,
    refused: {
      volume: 'Ferry has no storage pools: name the file or device itself',
      nvme: 'A PCI device of the host cannot be moved',
      vhostuser: 'The process behind it is not started by Ferry',
      vhostvdpa: 'A device of the host cannot be moved',
      dir: 'Put the files into an image',
    },
  },
);

export type Disk = Of<typeof disk>;
export type DiskDriver = Of<typeof driver>;
export type NetworkSource = Of<typeof networkSource>;
