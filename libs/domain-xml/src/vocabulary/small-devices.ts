import type { Of } from '../codec/element.ts';
import { choice, element, type Report, textElement } from '../codec/element-codec.ts';
import { attribute, attributeOr, child, hostSide, optionalAttribute, optionalChild, text } from '../codec/fields.ts';
import { integer, oneOf, path, pattern, uuid } from '../codec/scalar.ts';
import { dimmAddress, panicAddress, pciAddress, usbAddress } from './address.ts';
import { backendOnly } from './chardev.ts';
import { acpiIndex, alias, onOff, present, virtioDriver, virtioModels, yesNo } from './common.ts';
import { numberSet } from './cpu.ts';
import { memoryKib } from './memory.ts';

const common = { driver: virtioDriver, acpi: acpiIndex, alias, address: optionalChild(pciAddress) };

export const memballoon = element({
  model: attribute(oneOf(...virtioModels, 'none')),
  autodeflate: optionalAttribute(onOff),
  freePageReporting: optionalAttribute(onOff),
  stats: hostSide(optionalChild(element({ period: attribute(integer(0, 2 ** 31 - 1)) }))),
  ...common,
});

/** A source of random numbers. */
export const rng = element({
  model: attribute(oneOf(...virtioModels)),
  rate: hostSide(
    optionalChild(
      element({ bytes: attribute(integer(1, 2 ** 31 - 1)), period: optionalAttribute(integer(1, 2 ** 31 - 1)) }),
    ),
  ),
  backend: hostSide(
    child(
      choice('model', {
        random: element({ source: text(oneOf('/dev/urandom', '/dev/random', '/dev/hwrng', '')) }),
        builtin: element({}),
        egd: backendOnly,
      }),
    ),
  ),
  ...common,
});

export const watchdog = element({
  model: attribute(oneOf('i6300esb', 'ib700', 'itco')),
  action: attributeOr(oneOf('reset', 'shutdown', 'poweroff', 'pause', 'none', 'inject-nmi'), 'reset'),
  acpi: acpiIndex,
  alias,
  address: optionalChild(pciAddress),
});

export const panic = element({
  model: attributeOr(oneOf('isa', 'pvpanic', 'hyperv'), 'isa'),
  alias,
  address: optionalChild(panicAddress),
});

export const hub = element({ type: attribute(oneOf('usb')), alias, address: optionalChild(usbAddress) });

export const vsock = element({
  model: attributeOr(oneOf('virtio', 'virtio-non-transitional'), 'virtio'),
  cid: child(
    element(
      { auto: hostSide(optionalAttribute(yesNo)), address: optionalAttribute(integer(3, 2 ** 32 - 2)) },
      {
        check: ({ auto, address }, report) => {
          if (auto !== true && address === undefined)
            report(
              'xml-invalid',
              '',
              'attribute address is missing',
              "Add a number from 3 to 4294967294, or auto='yes'",
            );
        },
      },
    ),
  ),
  ...common,
});

export const crypto = element({
  model: attribute(oneOf('virtio')),
  type: attribute(oneOf('qemu')),
  backend: child(element({ model: attribute(oneOf('builtin')), queues: optionalAttribute(integer(1, 1)) })),
  ...common,
});

/** A remapper of what devices may reach. */
export const iommu = element({
  model: attribute(oneOf('intel', 'virtio')),
  driver: optionalChild(
    element({
      intremap: optionalAttribute(onOff),
      caching_mode: optionalAttribute(onOff),
      eim: optionalAttribute(onOff),
      iotlb: optionalAttribute(onOff),
      aw_bits: optionalAttribute(integer(32, 64)),
      dma_translation: optionalAttribute(onOff),
    }),
  ),
  acpi: acpiIndex,
  alias,
  address: optionalChild(pciAddress),
});

/** Memory shared between guests of a host. */
export const shmem = element(
  {
    name: attribute(pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, 'a name of letters, digits and _ . -', ['shm-1'])),
    role: optionalAttribute(oneOf('master', 'peer')),
    model: child(element({ type: attribute(oneOf('ivshmem-plain')) })),
    size: optionalChild(memoryKib),
    acpi: acpiIndex,
    alias,
    address: optionalChild(pciAddress),
  },
  {
    refused: { server: 'The server behind it is not started by Ferry', msi: 'It needs a server' },
    // It is a BAR of a PCI device (qemuValidateDomainDeviceDefShmem).
    check: ({ size }, report) => {
      if (size !== undefined && (size < 1024 || !Number.isInteger(Math.log2(size))))
        report('xml-invalid', '/size', `${size} KiB are not a power of two of MiB`, 'Give 1, 2, 4, 8, …');
    },
  },
);

/** A memory module (qemuBuildMemoryDeviceProps). */
export const memoryModule = choice(
  'model',
  {
    dimm: element({
      access: optionalAttribute(oneOf('shared', 'private')),
      discard: hostSide(optionalAttribute(yesNo)),
      source: hostSide(
        optionalChild(
          element({ pagesize: optionalChild(memoryKib), nodemask: optionalChild(textElement(numberSet(1023))) }),
        ),
      ),
      target: child(element({ size: child(memoryKib), node: optionalChild(textElement(integer(0, 127))) })),
      alias,
      address: optionalChild(dimmAddress),
    }),
    /** Memory that is a file of the host: a migration takes what is in it along. */
    nvdimm: element({
      access: optionalAttribute(oneOf('shared', 'private')),
      uuid: optionalChild(textElement(uuid)),
      source: hostSide(
        child(
          element({
            path: child(textElement(path)),
            alignsize: optionalChild(memoryKib),
            pmem: optionalChild(present),
          }),
        ),
      ),
      target: child(
        element({
          size: child(memoryKib),
          node: optionalChild(textElement(integer(0, 127))),
          label: optionalChild(element({ size: child(memoryKib) })),
          readonly: optionalChild(present),
        }),
      ),
      alias,
      address: optionalChild(dimmAddress),
    }),
  },
  {
    refused: {
      'virtio-pmem': 'Persistent memory of one host is not on the other',
      'virtio-mem': 'Its size changes while the guest runs, which Ferry does not follow',
      'sgx-epc': 'Enclaves cannot be moved',
    },
  },
);

interface Virtiofs {
  readonly accessmode: string;
  readonly model: string | undefined;
  readonly readonly: object | undefined;
  /** What QEMU's own file server alone can be told, by where it stands. */
  readonly unheeded: Readonly<Record<string, string | undefined>>;
  readonly source: { readonly dir?: string; readonly socket?: string };
}

function checkVirtiofs({ accessmode, source, model, readonly, unheeded }: Virtiofs, report: Report): void {
  for (const [at, value] of Object.entries(unheeded)) {
    if (value !== undefined) report('xml-invalid', at, 'virtiofsd decides that', 'Remove it');
  }
  if (source.socket === undefined) {
    const hint = "Start it on the host, and name its socket: <source socket='/path'/>";
    report(
      'xml-unsupported',
      source.dir === undefined ? '/source' : '/source/@dir',
      'Ferry does not start virtiofsd',
      hint,
    );
  } else if (source.dir !== undefined) {
    report('xml-invalid', '/source/@dir', 'the virtiofsd behind the socket knows its directory', 'Remove it');
  }
  if (accessmode !== 'passthrough')
    report('xml-invalid', '/@accessmode', `virtiofs is not ${accessmode}`, "Use accessmode='passthrough'");
  if (model !== undefined && model !== 'virtio')
    report('xml-unsupported', '/@model', 'virtiofs is a modern device', "Use model='virtio' or leave it out");
  if (readonly !== undefined)
    report('xml-unsupported', '/readonly', 'virtiofsd decides who may write', 'Start it so, and remove this');
}

/** A directory of the host in the guest. */
export const filesystem = choice(
  'type',
  {
    mount: element(
      {
        accessmode: attributeOr(oneOf('passthrough', 'mapped', 'squash'), 'passthrough'),
        model: optionalAttribute(oneOf(...virtioModels)),
        multidevs: optionalAttribute(oneOf('default', 'remap', 'forbid', 'warn')),
        fmode: optionalAttribute(pattern(/^[0-7]{3,4}$/, 'an octal mode', ['0644'])),
        dmode: optionalAttribute(pattern(/^[0-7]{3,4}$/, 'an octal mode', ['0755'])),
        driver: optionalChild(
          element({
            type: optionalAttribute(oneOf('path', 'virtiofs')),
            queue: optionalAttribute(integer(1, 32768)),
            wrpolicy: optionalAttribute(oneOf('immediate')),
            iommu: optionalAttribute(onOff),
            ats: optionalAttribute(onOff),
            packed: optionalAttribute(onOff),
            page_per_vq: optionalAttribute(onOff),
          }),
        ),
        source: hostSide(child(element({ dir: optionalAttribute(path), socket: optionalAttribute(path) }))),
        target: child(
          element({
            dir: attribute(
              pattern(/^[A-Za-z0-9/][A-Za-z0-9/_.-]{0,30}$/, 'a mount tag of at most 31 characters', ['shared']),
            ),
          }),
        ),
        readonly: optionalChild(element({})),
        acpi: acpiIndex,
        alias,
        address: optionalChild(pciAddress),
      },
      {
        check: ({ accessmode, fmode, dmode, multidevs, driver, source, model, readonly }, report) => {
          const unheeded = {
            '/@fmode': fmode,
            '/@dmode': dmode,
            '/@multidevs': multidevs,
            '/driver/@wrpolicy': driver?.wrpolicy,
          };
          if (driver?.type === 'virtiofs')
            return checkVirtiofs({ accessmode, source, model, readonly, unheeded }, report);
          if (driver?.queue !== undefined) report('xml-invalid', '/driver/@queue', 'it is about virtiofs', 'Remove it');
          if (source.dir === undefined) report('xml-invalid', '/source/@dir', 'it names no directory', 'Give its path');
          for (const [name, value] of [
            ['fmode', fmode],
            ['dmode', dmode],
          ] as const) {
            if (value === undefined || accessmode === 'mapped') continue;
            report('xml-invalid', `/@${name}`, `only a mapped directory has ${name}`, "Use accessmode='mapped'");
          }
        },
        refused: { binary: 'The virtiofsd behind it is not started by Ferry' },
      },
    ),
  },
  {
    fallback: 'mount',
    refused: {
      template: 'It belongs to containers',
      file: 'Use a disk',
      block: 'Use a disk',
      ram: 'It belongs to containers',
      bind: 'It belongs to containers',
      volume: 'Ferry has no storage pools',
    },
  },
);

export type Memballoon = Of<typeof memballoon>;
export type Rng = Of<typeof rng>;
export type Watchdog = Of<typeof watchdog>;
export type Panic = Of<typeof panic>;
export type Hub = Of<typeof hub>;
export type Vsock = Of<typeof vsock>;
export type Crypto = Of<typeof crypto>;
export type Iommu = Of<typeof iommu>;
export type Shmem = Of<typeof shmem>;
export type MemoryModule = Of<typeof memoryModule>;
export type Filesystem = Of<typeof filesystem>;
