import type { Fields, Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, child, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, macAddress, oneOf, path, pattern } from '../codec/scalar.ts';
import { pciAddress } from './address.ts';
import { acpiIndex, alias, boot, onOff, virtioModels, virtioOptions, yesNo } from './common.ts';

const deviceName = pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/, 'a network device name of at most 15 characters', [
  'tap0',
]);
const tap = element(
  { dev: attribute(deviceName), managed: optionalAttribute(yesNo) },
  {
    check: ({ managed }, report) => {
      if (managed === false) return;
      report(
        'xml-unsupported',
        '/@managed',
        'Ferry does not make network devices',
        "Make the tap first and add managed='no'",
      );
    },
  },
);

const driver = element({
  name: hostSide(optionalAttribute(oneOf('qemu', 'vhost'))),
  txmode: hostSide(optionalAttribute(oneOf('iothread', 'timer'))),
  ioeventfd: hostSide(optionalAttribute(onOff)),
  event_idx: optionalAttribute(onOff),
  queues: optionalAttribute(integer(1, 256)),
  rx_queue_size: optionalAttribute(integer(256, 1024)),
  tx_queue_size: optionalAttribute(integer(256, 1024)),
  rss: optionalAttribute(onOff),
  rss_hash_report: optionalAttribute(onOff),
  ...virtioOptions,
});

const common = {
  mac: optionalChild(
    element(
      { address: attribute(macAddress) },
      { ignored: { '@type': 'it says how libvirt made the address up', '@check': 'it is about VMware' } },
    ),
  ),
  model: optionalChild(
    element({
      type: attribute(
        oneOf(
          ...virtioModels,
          'e1000',
          'e1000e',
          'rtl8139',
          'ne2k_pci',
          'pcnet',
          'vmxnet3',
          'i82551',
          'i82557b',
          'i82559er',
        ),
      ),
    }),
  ),
  driver: optionalChild(driver),
  link: optionalChild(element({ state: attribute(oneOf('up')) })),
  mtu: optionalChild(element({ size: attribute(integer(68, 65535)) })),
  boot,
  acpi: acpiIndex,
  alias,
  address: optionalChild(pciAddress),
};

const options = {
  refused: {
    bandwidth: 'Ferry does not shape traffic',
    filterref: 'Ferry does not filter traffic',
    script: 'Ferry runs no scripts: make the tap first and name it',
    downscript: 'Ferry runs no scripts',
    virtualport: 'Ferry does not register ports with switches',
    vlan: 'Set the VLAN up on the host',
    coalesce: 'Set coalescing on the tap itself',
    port: 'Set isolation on the bridge itself',
    teaming: 'Fail-over to a host device is not supported',
    guest: 'It belongs to containers',
    portForward: 'It needs passt, which Ferry does not start',
    backend: 'Ferry starts no helpers',
    ip: 'The guest configures its own addresses',
    tune: 'Set it on the tap itself',
  },
};
const card = <F extends Fields>(fields: F) => element({ ...fields, ...common }, options);

/** A network card of the guest. */
export const networkInterface = choice(
  'type',
  {
    user: card({}),
    ethernet: card({ target: hostSide(child(tap)) }),
    bridge: card({
      source: hostSide(child(element({ bridge: attribute(deviceName) }))),
      target: hostSide(child(tap)),
    }),
    vhostuser: card({
      source: hostSide(
        child(
          element({
            type: attribute(oneOf('unix')),
            path: attribute(path),
            mode: attribute(oneOf('client', 'server')),
          }),
        ),
      ),
    }),
  },
  {
    hostSide: true,
    refused: {
      network: "Ferry has no virtual networks: use type='bridge' with its bridge, or type='ethernet' with a tap",
      direct: "Ferry does not make macvtap devices: use type='ethernet' with a tap",
      hostdev: 'A device of the host cannot be moved',
      vdpa: 'A device of the host cannot be moved',
    },
  },
);

export type NetworkInterface = Of<typeof networkInterface>;
