import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Devices } from '../vocabulary/devices.ts';

/** A machine whose USB is switched off has no place for what is on USB (qemuDomainDefValidateUSB). */
export function checkUsb(devices: Devices, findings: Findings): void {
  if (!devices.controller.some((c) => c.type === 'usb' && c.model === 'none')) return;
  const onUsb: Readonly<Record<string, readonly boolean[]>> = {
    controller: devices.controller.map((one) => one.type === 'ccid' || (one.type === 'usb' && one.model !== 'none')),
    disk: devices.disk.map((one) => one.target.bus === 'usb'),
    hub: devices.hub.map(() => true),
    input: devices.input.map((one) => one.bus === 'usb' || (one.bus === undefined && one.type === 'tablet')),
    redirdev: devices.redirdev.map(() => true),
    serial: devices.serial.map((one) => one.target?.type === 'usb-serial'),
    smartcard: devices.smartcard.map(() => true),
    sound: devices.sound.map((one) => one.model === 'usb'),
  };
  for (const [key, list] of Object.entries(onUsb)) {
    list.forEach((isOn, i) => {
      const path = pathOf('/domain/devices', key, list.length, i);
      if (isOn)
        findings.report('xml-invalid', path, 'USB is switched off', "Remove <controller type='usb' model='none'>");
    });
  }
}
