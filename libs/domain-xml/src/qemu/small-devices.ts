import { createHash } from 'node:crypto';
import type { Domain } from '../domain.ts';
import type { Filesystem, Rng } from '../vocabulary/small-devices.ts';
import { tpmSocket } from '../tpm-socket.ts';
import type { Tpm } from '../vocabulary/tpm.ts';
import { backendArguments } from './chardevs.ts';
import { device, idOf, json, onOff, optionValue, pciPlace, required, virtioName, virtioOptions } from './json.ts';

/** Everything that is one device and at most one object behind it. */
export function smallDeviceArguments(domain: Domain, directory: string): string[] {
  const { document, devices } = domain;
  const { controller: all, memballoon, vsock } = devices;
  return [
    ...(document.genid === undefined ? [] : device({ driver: 'vmgenid', guid: document.genid.value, id: 'vmgenid0' })),
    ...(document.features?.vmcoreinfo === undefined || document.features.vmcoreinfo.state === false
      ? []
      : device({ driver: 'vmcoreinfo' })),
    ...devices.watchdog.flatMap((dog) => {
      if (dog.model === 'itco') return [];
      return device({ driver: dog.model, id: idOf(dog), ...(dog.model === 'i6300esb' ? pciPlace(dog, all) : {}) });
    }),
    ...(memballoon === undefined || memballoon.model === 'none'
      ? []
      : device({
          driver: virtioName('virtio-balloon-pci', memballoon.model),
          id: idOf(memballoon),
          'deflate-on-oom': memballoon.autodeflate,
          'free-page-reporting': memballoon.freePageReporting,
          ...virtioOptions(memballoon.driver),
          ...pciPlace(memballoon, all),
        })),
    ...devices.rng.flatMap((rng) => {
      const id = idOf(rng);
      return [
        ...randomSource(rng, id, directory),
        ...device({
          driver: virtioName('virtio-rng-pci', rng.model),
          rng: `obj${id}`,
          id,
          'max-bytes': rng.rate?.bytes,
          period: rng.rate === undefined ? undefined : (rng.rate.period ?? 1000),
          ...virtioOptions(rng.driver),
          ...pciPlace(rng, all),
        }),
      ];
    }),
    ...devices.panic.flatMap((panic) => {
      if (panic.model === 'hyperv') return [];
      if (panic.model === 'pvpanic') return device({ driver: 'pvpanic-pci', id: idOf(panic), ...pciPlace(panic, all) });
      const ioport = panic.address?.type === 'isa' ? panic.address.iobase : undefined;
      return device({ driver: 'pvpanic', id: idOf(panic), ioport });
    }),
    ...(devices.tpm === undefined ? [] : tpmArguments(devices.tpm, tpmSocket(domain, directory))),
    ...devices.shmem.flatMap((shmem) => {
      const id = idOf(shmem);
      const size = (shmem.size ?? 4096) * 1024;
      const file = {
        'qom-type': 'memory-backend-file',
        id: `shmmem-${id}`,
        'mem-path': `/dev/shm/${shmem.name}`,
        size,
        share: true,
      };
      const master = shmem.role === undefined ? undefined : onOff(shmem.role === 'master');
      return [
        '-object',
        json(file),
        ...device({ driver: 'ivshmem-plain', id, memdev: `shmmem-${id}`, master, ...pciPlace(shmem, all) }),
      ];
    }),
    ...(vsock === undefined
      ? []
      : device({
          driver: virtioName('vhost-vsock-pci', vsock.model),
          id: idOf(vsock),
          'guest-cid': vsock.cid.address ?? madeUpCid(domain.uuid),
          ...virtioOptions(vsock.driver),
          ...pciPlace(vsock, all),
        })),
    ...devices.crypto.flatMap((crypto) => {
      const id = idOf(crypto);
      return [
        '-object',
        json({ 'qom-type': 'cryptodev-backend-builtin', id: `obj${id}`, queues: crypto.backend.queues }),
        ...device({
          driver: 'virtio-crypto-pci',
          cryptodev: `obj${id}`,
          id,
          ...virtioOptions(crypto.driver),
          ...pciPlace(crypto, all),
        }),
      ];
    }),
    ...devices.filesystem.flatMap((fs) =>
      fs.driver?.type === 'virtiofs' ? virtiofsArguments(fs, all) : directoryArguments(fs, all),
    ),
  ];
}

/** The same on every host, so that the guest keeps it when it moves; from the 2³² there are, two guests hardly ever get one. */
function madeUpCid(uuid: string): number {
  const first = 3;
  return first + (createHash('sha256').update(uuid).digest().readUInt32BE() % (2 ** 32 - 1 - first));
}

type Controllers = Domain['devices']['controller'];

/** A directory that QEMU serves itself. */
function directoryArguments(fs: Filesystem, controllers: Controllers): string[] {
  const id = idOf(fs);
  const model = { passthrough: 'passthrough', mapped: 'mapped-xattr', squash: 'none' }[fs.accessmode];
  const option = (name: string, value: string | undefined) => (value === undefined ? '' : `,${name}=${value}`);
  const fsdev =
    `local,security_model=${model}${option('multidevs', fs.multidevs === 'default' ? undefined : fs.multidevs)}` +
    `${option('writeout', fs.driver?.wrpolicy)}${option('fmode', fs.fmode)}${option('dmode', fs.dmode)}` +
    `,id=fsdev-${id},path=${optionValue(required(fs.source.dir, 'directory'))}${fs.readonly === undefined ? '' : ',readonly=on'}`;
  return [
    '-fsdev',
    fsdev,
    ...device({
      driver: virtioName('virtio-9p-pci', fs.model),
      id,
      fsdev: `fsdev-${id}`,
      mount_tag: fs.target.dir,
      ...virtioOptions(fs.driver),
      ...pciPlace(fs, controllers),
    }),
  ];
}

/** A directory that a virtiofsd serves, which is there. */
function virtiofsArguments(fs: Filesystem, controllers: Controllers): string[] {
  const id = idOf(fs);
  const socket = required(fs.source.socket, 'socket');
  return [
    '-chardev',
    `socket,id=chr-vu-${id},path=${optionValue(socket)}`,
    ...device({
      driver: 'vhost-user-fs-pci',
      id,
      chardev: `chr-vu-${id}`,
      'queue-size': fs.driver?.queue,
      tag: fs.target.dir,
      ...virtioOptions(fs.driver),
      ...pciPlace(fs, controllers),
    }),
  ];
}

function tpmArguments(tpm: Tpm, ownSocket: string | undefined): string[] {
  const id = idOf(tpm);
  const chardev = `chr${id}`;
  const socket = tpm.backend.type === 'external' ? tpm.backend.source.path : required(ownSocket, 'TPM socket');
  return [
    '-chardev',
    `socket,id=${chardev},path=${optionValue(socket)}`,
    '-tpmdev',
    `emulator,id=tpm-${id},chardev=${chardev}`,
    ...device({ driver: required(tpm.model, 'TPM model'), tpmdev: `tpm-${id}`, id }),
  ];
}

function randomSource({ backend }: Rng, rng: string, directory: string): string[] {
  const id = `obj${rng}`;
  switch (backend.model) {
    case 'builtin':
      return ['-object', json({ 'qom-type': 'rng-builtin', id })];
    case 'random': {
      const filename = backend.source === '' ? '/dev/urandom' : backend.source;
      return ['-object', json({ 'qom-type': 'rng-random', id, filename })];
    }
    case 'egd': {
      const chardev = `char${rng}`;
      return [
        ...backendArguments(backend, chardev, directory),
        '-object',
        json({ 'qom-type': 'rng-egd', id, chardev }),
      ];
    }
    default:
      return backend satisfies never;
  }
}

/** The remapper stands before every device that it is to see. */
export function iommuArguments({ devices: { iommu, controller } }: Domain): string[] {
  if (iommu === undefined) return [];
  const id = idOf(iommu);
  if (iommu.model === 'virtio') return device({ driver: 'virtio-iommu-pci', id, ...pciPlace(iommu, controller) });
  const { driver } = iommu;
  return device({
    driver: 'intel-iommu',
    id,
    intremap: onOff(driver?.intremap),
    'caching-mode': driver?.caching_mode,
    eim: onOff(driver?.eim),
    'device-iotlb': driver?.iotlb,
    'aw-bits': driver?.aw_bits,
    'dma-translation': driver?.dma_translation,
  });
}
