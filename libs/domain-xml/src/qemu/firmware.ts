import type { Domain } from '../domain.ts';
import { json, optionValue, required } from './json.ts';

/** What a flash image does to the machine: the first is the firmware, the second its variables. */
export function firmwareMachineOptions({ document: { os } }: Domain): Readonly<Record<string, string | undefined>> {
  if (os.loader?.type !== 'pflash') return {};
  return { pflash0: 'pflash0-format', pflash1: os.nvram === undefined ? undefined : 'pflash1-format' };
}

/** Firmware, or a kernel that is loaded directly, and what the firmware shows. */
export function firmwareArguments({ document: { os } }: Domain): string[] {
  const option = (name: string, value: string | undefined) => (value === undefined ? [] : [name, value]);
  const { loader, nvram } = os;
  const isFlash = loader?.type === 'pflash';
  return [
    ...(isFlash ? flash('pflash0', 'file', loader.path, loader.format, loader.readonly === true) : []),
    ...(nvram === undefined
      ? []
      : flash('pflash1', nvram.type === 'block' ? 'host_device' : 'file', nvram.path, nvram.format, false)),
    ...(loader?.secure === true ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
    '-boot',
    bootOption(os),
    ...option('-bios', isFlash ? undefined : loader?.path),
    ...option('-kernel', os.kernel),
    ...option('-initrd', os.initrd),
    ...option('-append', os.cmdline),
    ...(os.acpi?.table ?? []).flatMap((table) => [
      '-acpitable',
      `sig=${table.type.toUpperCase()},file=${optionValue(table.path)}`,
    ]),
  ];
}

function flash(
  name: string,
  driver: 'file' | 'host_device',
  path: string | undefined,
  format: string | undefined,
  readOnly: boolean,
): string[] {
  const filename = required(path, 'path of a flash image');
  const common = { 'read-only': readOnly };
  return [
    '-blockdev',
    json({ driver, filename, 'node-name': `${name}-storage`, 'auto-read-only': true, ...common }),
    '-blockdev',
    // The host has seen that there is nothing below it.
    JSON.stringify({
      driver: format ?? 'raw',
      'node-name': `${name}-format`,
      ...common,
      file: `${name}-storage`,
      ...(format === 'qcow2' ? { backing: null } : {}),
    }),
  ];
}

function bootOption({ bootmenu, bios }: Domain['document']['os']): string {
  const parts = ['strict=on'];
  if (bootmenu !== undefined) parts.unshift(`menu=${bootmenu.enable ? 'on' : 'off'}`);
  if (bootmenu?.enable === true && bootmenu.timeout !== undefined) parts.push(`splash-time=${bootmenu.timeout}`);
  if (bios?.rebootTimeout !== undefined) parts.push(`reboot-timeout=${bios.rebootTimeout}`);
  return parts.join(',');
}
