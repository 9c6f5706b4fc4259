import type { Findings } from '../codec/place.ts';
import { pathOf, type Report } from '../codec/element-codec.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';
import { checkChardevs } from './chardevs.ts';
import { checkInterfaces } from './interfaces.ts';
import { checkMedia } from './media.ts';
import { checkMultifunction } from './multifunction.ts';
import { checkUsb } from './usb.ts';
import { checkVirtio } from './virtio.ts';

/** What devices need of each other and of the machine. */
export function checkDevices({ devices }: DomainDocument, q35: boolean, findings: Findings): void {
  const each = <K extends keyof Devices>(
    key: K,
    check: (one: Devices[K] extends readonly (infer D)[] ? D : never, report: Report, index: number) => void,
  ) => {
    const list = devices[key];
    if (!Array.isArray(list)) return;
    list.forEach((one, i) => {
      const path = pathOf('/domain/devices', key, list.length, i);
      check(one, (kind, below, what, hint) => findings.report(kind, `${path}${below}`, what, hint), i);
    });
  };
  each('controller', (c, report) => {
    if (c.type === 'ide' && q35) report('xml-unsupported', '/@type', 'a q35 machine has no IDE', 'Use SATA');
    if (c.type === 'ide' && (c.index ?? 0) > 0)
      report('xml-unsupported', '/@index', 'a pc has one IDE controller', 'Use SATA');
    if (c.type === 'fdc' && c.address !== undefined)
      report('xml-invalid', '/address', 'a floppy controller is not on PCI', 'Leave it out');
    if (c.type === 'fdc' && (c.index ?? 0) > 0)
      report('xml-invalid', '/@index', 'a machine has one floppy controller', 'Remove it');
    if (c.type === 'scsi' && c.model?.startsWith('virtio') !== true) {
      for (const name of Object.keys(c.driver ?? {}))
        report('xml-invalid', `/driver/@${name}`, `only a virtio controller has ${name}`, "Use model='virtio-scsi'");
    }
    if (c.type === 'usb' && c.ports !== undefined && c.model?.endsWith('xhci') !== true)
      report('xml-invalid', '/@ports', 'only an xhci has as many ports as it is told', "Use model='qemu-xhci'");
    // What has no index yet is looked at again when it has one.
    if (c.index === undefined) return;
    if (c.type === 'usb' && (c.master !== undefined || c.model?.startsWith('ich9-uhci') === true)) {
      const isMaster = (one: typeof c | Devices['controller'][number]) =>
        one.type === 'usb' &&
        one.index === c.index &&
        one.master === undefined &&
        (one.model === 'ich9-ehci1' || one.model === 'ehci');
      if (!devices.controller.some(isMaster))
        report(
          'xml-invalid',
          '',
          'a companion needs its USB 2 controller',
          "Add model='ich9-ehci1' with the same index",
        );
    }
  });
  checkIndexes(devices, findings);
  each('serial', ({ target, address }, report) => {
    if (address === undefined) return;
    const types = { pci: 'pci-serial', usb: 'usb-serial', isa: 'isa-serial' } as const;
    const type = target?.type ?? types[address.type];
    const fits = types[address.type] === type || (address.type === 'isa' && type === 'isa-debug');
    if (!fits) report('xml-invalid', '/address/@type', `a ${type} is not there`, 'Leave it out');
  });
  each('panic', ({ model, address }, report, i) => {
    if (devices.panic.findIndex((one) => one.model === model) < i)
      report('xml-invalid', '/@model', `there are two of ${model}`, 'Remove one');
    const wanted = model === 'pvpanic' ? 'pci' : model === 'isa' ? 'isa' : undefined;
    if (address !== undefined && address.type !== wanted)
      report('xml-invalid', '/address/@type', `a ${model} is not there`, 'Leave it out');
  });
  each('watchdog', ({ model, action, address }, report, i) => {
    if (i > 0 && action !== devices.watchdog[0]?.action)
      report('xml-invalid', '/@action', 'all watchdogs have one action', 'Make them equal');
    if (model === 'itco' && !q35)
      report('xml-invalid', '/@model', 'only a q35 machine has an itco', "Use model='i6300esb'");
    if (model !== 'i6300esb' && address !== undefined)
      report('xml-invalid', '/address', `an ${model} has no PCI address`, 'Remove it');
  });
  checkMultifunction(devices, findings);
  checkChardevs(devices, findings);
  checkMedia(devices, findings);
  checkInterfaces(devices, findings);
  checkVirtio(devices, q35, findings);
  checkUsb(devices, findings);
  checkAudio(devices, findings);
  checkSpice(devices, findings);
  checkAliases(devices, findings);
  checkAcpiIndexes(devices, findings);
}

/** Two controllers of a type have different numbers, except the companions of a USB 2 controller. */
function checkIndexes({ controller }: Devices, findings: Findings): void {
  const seen = new Set<string>();
  controller.forEach((c, i) => {
    if (c.index === undefined) return;
    const key = `${c.type} ${c.index}${c.type === 'usb' && c.model?.startsWith('ich9-') === true ? ` ${c.model}` : ''}`;
    if (seen.has(key)) {
      const path = pathOf('/domain/devices', 'controller', controller.length, i);
      findings.report(
        'xml-invalid',
        `${path}/@index`,
        `two ${c.type} controllers have index ${c.index}`,
        'Number them differently',
      );
    }
    seen.add(key);
  });
}

/** A sound card plays to an `<audio>` that is there; without any there will be one with id 1. */
function checkAudio({ audio, sound, graphics }: Devices, findings: Findings): void {
  const ids = audio.length === 0 ? [1] : audio.map((one) => one.id);
  if (new Set(ids).size < ids.length) {
    findings.report('xml-invalid', '/domain/devices/audio', 'two have the same id', 'Number them differently');
  }
  const check = (key: string, id: number | undefined, count: number, i: number) => {
    if (id === undefined || ids.includes(id)) return;
    const path = `${pathOf('/domain/devices', key, count, i)}/audio/@id`;
    findings.report('xml-invalid', path, `there is no audio ${id}`, `Add <audio id='${id}' type='none'/>`);
  };
  sound.forEach((card, i) => check('sound', card.audio?.id, sound.length, i));
  graphics.forEach((one, i) => check('graphics', one.type === 'vnc' ? one.audio?.id : undefined, graphics.length, i));
}

/** What a SPICE client provides needs a SPICE display. */
function checkSpice(devices: Devices, findings: Findings): void {
  if (devices.graphics.some((one) => one.type === 'spice')) return;
  for (const key of ['serial', 'parallel', 'console', 'channel', 'redirdev', 'smartcard', 'audio'] as const) {
    devices[key].forEach((one, i) => {
      if (!one.type.startsWith('spice')) return;
      const path = pathOf('/domain/devices', key, devices[key].length, i);
      findings.report(
        'xml-invalid',
        `${path}/@type`,
        `${one.type} needs a SPICE display`,
        "Add <graphics type='spice'>",
      );
    });
  }
}

/** Guests name network cards by it (acpi_set_acpi_index in QEMU's pcihp.c). */
function checkAcpiIndexes(devices: Devices, findings: Findings): void {
  const seen = new Set<number>();
  for (const [key, part] of Object.entries(devices)) {
    const list = (Array.isArray(part) ? part : [part]) as readonly { readonly acpi?: { readonly index: number } }[];
    list.forEach((one, i) => {
      if (one?.acpi === undefined) return;
      const path = `${pathOf('/domain/devices', key, list.length, i)}/acpi/@index`;
      if (seen.has(one.acpi.index))
        findings.report('xml-invalid', path, `two devices have index ${one.acpi.index}`, 'Number them differently');
      seen.add(one.acpi.index);
    });
  }
}

function checkAliases(devices: Devices, findings: Findings): void {
  const seen = new Set<string>();
  for (const [key, part] of Object.entries(devices)) {
    const list = (Array.isArray(part) ? part : [part]) as readonly { readonly alias?: { readonly name: string } }[];
    list.forEach((one, i) => {
      // The first console is the first serial port, companions are part of their master.
      const isFirstConsole = key === 'console' && i === 0;
      if (one?.alias === undefined || isFirstConsole || isCompanion(one)) return;
      const path = `${pathOf('/domain/devices', key, list.length, i)}/alias/@name`;
      if (seen.has(one.alias.name))
        findings.report('xml-invalid', path, `two devices are called ${one.alias.name}`, 'Rename one');
      seen.add(one.alias.name);
    });
  }
}

const isCompanion = (one: object): boolean => 'master' in one && one.master !== undefined;
