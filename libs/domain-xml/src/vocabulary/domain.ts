import type { Of } from '../codec/element.ts';
import { choice, element, textElement, textOrAbsent } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  childOr,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
  optionalText,
  text,
} from '../codec/fields.ts';
import { anyPath, freeText, integer, name, oneOf, path, pattern, printable, uuid } from '../codec/scalar.ts';
import { yesNo } from './common.ts';
import { cpu, numberSet } from './cpu.ts';
import { cputune } from './cputune.ts';
import { devices, noDevices } from './devices.ts';
import { clock, features } from './features.ts';
import { mainMemory, maxMemory, memoryKib } from './memory.ts';
import { blkiotune, memtune } from './limits.ts';
import { defaultIothread, iothreadids, iothreads, memoryBacking, numatune } from './memory-backing.ts';
import { os } from './os.ts';
import { seclabel } from './seclabel.ts';

const fwcfgName = pattern(
  /^opt\/[A-Za-z0-9][A-Za-z0-9_./-]{0,50}$/,
  'a name that begins with opt/, of at most 55 letters, digits and _ . / -',
  ['opt/ferry.guest'],
);
const fwcfgEntry = element(
  { name: attribute(fwcfgName), file: hostSide(optionalAttribute(path)), value: text(printable) },
  {
    check: ({ file, value }, report) => {
      if (file !== undefined && value !== '')
        report('xml-invalid', '', 'it has a file and a value', 'Give one of them');
      if (file === undefined && value === '')
        report('xml-invalid', '', 'it has neither a file nor a value', 'Give one of them');
    },
  },
);

const smbiosText = pattern(/^[^\p{Cc}\p{Cs}]{0,255}$/u, 'text on one line', ['LENOVO', 'a, b']);
const entries = (...names: readonly string[]) =>
  element({ entry: children(element({ name: attribute(oneOf(...names)), value: text(smbiosText) })) });
const smbios = element({
  bios: optionalChild(entries('vendor', 'version', 'date', 'release')),
  system: optionalChild(entries('manufacturer', 'product', 'version', 'serial', 'uuid', 'sku', 'family')),
  baseBoard: children(entries('manufacturer', 'product', 'version', 'serial', 'asset', 'location')),
  chassis: optionalChild(entries('manufacturer', 'version', 'serial', 'asset', 'sku')),
  oemStrings: optionalChild(element({ entry: children(textElement(smbiosText)) })),
});

const mapped = children(
  element({
    start: attribute(integer(0, 2 ** 32 - 1)),
    target: attribute(integer(0, 2 ** 32 - 1)),
    count: attribute(integer(1, 2 ** 32 - 1)),
  }),
);
const idmap = element({ uid: mapped, gid: mapped });

/** libvirt's own default is /machine, which it writes into the documents of running guests; any other is a cgroup with limits (hostWishes). */
const resource = element(
  { partition: optionalChild(textElement(anyPath)) },
  { refused: { fibrechannel: 'Ferry names no guest to a storage network' } },
);

/** Each vCPU by itself; see checkCpus. */
const vcpus = element({
  vcpu: children(
    element({
      id: attribute(integer(0, 1023)),
      enabled: attribute(yesNo),
      hotpluggable: optionalAttribute(yesNo),
      order: optionalAttribute(integer(1, 1024)),
    }),
  ),
});

const sleep = optionalChild(element({ enabled: attribute(yesNo) }));

/** The whole document, in the order in which libvirt writes it; `<metadata>` and foreign elements are kept beside it. */
export const document = element(
  {
    type: attribute(oneOf('qemu', 'kvm')),
    name: child(textElement(name)),
    uuid: optionalChild(textOrAbsent(uuid)),
    /** Empty: libvirt makes one up. */
    genid: optionalChild(element({ value: optionalText(uuid) })),
    title: hostSide(optionalChild(textElement(freeText))),
    description: hostSide(optionalChild(textElement(freeText))),
    maxMemory: optionalChild(maxMemory),
    /** All nodes together where it is not given (virDomainDefPostParseMemory); read as 0 until then. */
    memory: childOr(mainMemory, { kib: 0 }),
    /** What a balloon leaves the guest changes while it runs. */
    currentMemory: hostSide(optionalChild(memoryKib)),
    blkiotune: hostSide(optionalChild(blkiotune)),
    memtune: hostSide(optionalChild(memtune)),
    memoryBacking: hostSide(optionalChild(memoryBacking)),
    vcpu: childOr(
      element({
        placement: hostSide(attributeOr(oneOf('static'), 'static')),
        cpuset: hostSide(optionalAttribute(numberSet(4095))),
        current: optionalAttribute(integer(1, 1024)),
        count: text(integer(1, 1024)),
      }),
      { placement: 'static', count: 1 },
    ),
    vcpus: hostSide(optionalChild(vcpus)),
    iothreads: hostSide(optionalChild(iothreads)),
    iothreadids: hostSide(optionalChild(iothreadids)),
    defaultiothread: hostSide(optionalChild(defaultIothread)),
    cputune: hostSide(optionalChild(cputune)),
    numatune: hostSide(optionalChild(numatune)),
    resource: hostSide(optionalChild(resource)),
    sysinfo: children(choice('type', { smbios, fwcfg: element({ entry: children(fwcfgEntry) }) })),
    os: child(os),
    /** libvirt's QEMU driver keeps it and does nothing with it. */
    idmap: hostSide(optionalChild(idmap)),
    features: optionalChild(features),
    cpu: optionalChild(cpu),
    clock: optionalChild(clock),
    on_poweroff: hostSide(optionalChild(textElement(oneOf('destroy', 'preserve')))),
    on_reboot: hostSide(optionalChild(textElement(oneOf('restart', 'destroy')))),
    on_crash: hostSide(optionalChild(textElement(oneOf('destroy', 'restart', 'preserve')))),
    /** For a lock manager, of which libvirt has none by itself and Ferry none at all. */
    on_lockfailure: hostSide(optionalChild(textElement(oneOf('poweroff', 'restart', 'pause', 'ignore')))),
    pm: optionalChild(element({ 'suspend-to-mem': sleep, 'suspend-to-disk': sleep })),
    devices: childOr(devices, noDevices),
    seclabel: hostSide(children(seclabel)),
  },
  {
    check: ({ memory, cpu: processor }, report) => {
      if (memory.kib === 0 && (processor?.numa?.cell.length ?? 0) === 0)
        report('xml-invalid', '', 'element <memory> is missing', 'Say how much memory the guest has');
    },
    ignored: { '@id': 'libvirt numbers running domains anew on each host' },
    refused: {
      launchSecurity: 'A guest with encrypted memory cannot be moved',
      keywrap: 'It belongs to s390 machines',
      throttlegroups: 'Use <iotune> in the disk',
      perf: 'Ferry counts no events',
      bootloader: 'It is a choice of Xen',
      snapshots: 'Ferry makes no snapshots',
      '{http://libvirt.org/schemas/domain/qemu/1.0}commandline':
        'FERRY_QEMU_COMMANDLINE says which arguments a host takes, all or a list: they can reach all that QEMU can',
      '{http://libvirt.org/schemas/domain/qemu/1.0}capabilities':
        'It changes what libvirt takes QEMU to be able to do; Ferry asks the QEMU of each host',
      '{http://libvirt.org/schemas/domain/qemu/1.0}override':
        "It changes properties of devices behind the document's back: ask for them in the device, or in <qemu:commandline>",
      '{http://libvirt.org/schemas/domain/qemu/1.0}deprecation':
        'Ferry leaves to QEMU what becomes of deprecated arguments',
    },
  },
);

/** The document as read: every value checked. */
export type DomainDocument = Of<typeof document>;
