import { isDeepStrictEqual } from 'node:util';
import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Backend } from '../vocabulary/chardev.ts';
import type { Devices } from '../vocabulary/devices.ts';

/** The one channel of a guest that SPICE serves (qemuValidateDomainChrDef). */
const agent = 'com.redhat.spice.0';

/** Where bytes go must be said as far as it is not the host's to choose. */
export function checkChardevs(devices: Devices, findings: Findings): void {
  let stdio = 0;
  for (const key of ['serial', 'parallel', 'channel', 'redirdev', 'smartcard'] as const) {
    const list: readonly Backend[] = devices[key];
    list.forEach(({ type }, i) => {
      if (type === 'stdio') stdio += 1;
      if (type !== 'stdio' || stdio === 1) return;
      const path = `${pathOf('/domain/devices', key, list.length, i)}/@type`;
      findings.report('xml-invalid', path, 'something else has stdio', 'QEMU has it once: use another type');
    });
  }
  for (const key of ['serial', 'parallel', 'console', 'channel', 'redirdev', 'smartcard'] as const) {
    const list: readonly Backend[] = devices[key];
    list.forEach((one, i) => checkBackend(one, pathOf('/domain/devices', key, list.length, i), findings));
  }
  devices.channel.forEach(({ type, target }, i) => {
    if (type !== 'spicevmc' || target.type !== 'virtio' || (target.name ?? agent) === agent) return;
    const path = `${pathOf('/domain/devices', 'channel', devices.channel.length, i)}/target/@name`;
    findings.report('xml-unsupported', path, `SPICE has nothing called ${target.name}`, `Use ${agent}, or spiceport`);
  });
  checkPorts(devices, findings);
  checkConsoles(devices, findings);
  devices.rng.forEach(({ backend }, i) => {
    const path = `${pathOf('/domain/devices', 'rng', devices.rng.length, i)}/backend`;
    if (backend.model === 'egd') checkBackend(backend, path, findings);
  });
}

/** QEMU takes a name once and one smart card, and a machine has four serial ports on ISA. */
function checkPorts({ channel, serial, parallel, smartcard }: Devices, findings: Findings): void {
  parallel.forEach(({ target }, i) => {
    if (target?.port === undefined || parallel.findIndex((one) => one.target?.port === target.port) === i) return;
    const path = `${pathOf('/domain/devices', 'parallel', parallel.length, i)}/target/@port`;
    findings.report('xml-invalid', path, `two are port ${target.port}`, 'Number them differently');
  });
  smartcard.slice(1).forEach((_, i) => {
    const path = pathOf('/domain/devices', 'smartcard', smartcard.length, i + 1);
    findings.report('xml-unsupported', path, 'QEMU has one reader, for one card', 'Remove it');
  });
  const names = channel.map(({ type, target }) =>
    target.type === 'virtio' ? (target.name ?? (type === 'spicevmc' ? agent : undefined)) : undefined,
  );
  names.forEach((name, i) => {
    if (name === undefined || names.indexOf(name) === i) return;
    const path = `${pathOf('/domain/devices', 'channel', channel.length, i)}/target`;
    findings.report('xml-invalid', path, `two channels are called ${name}`, 'Give each its own name');
  });
  const isa = serial.flatMap(({ target, address }, i) => {
    const type = target?.type ?? (address === undefined || address.type === 'isa' ? 'isa-serial' : address.type);
    return type === 'isa-serial' ? [i] : [];
  });
  serial.forEach(({ target }, i) => {
    const path = `${pathOf('/domain/devices', 'serial', serial.length, i)}/target`;
    const { model, type = 'isa-serial' } = target ?? {};
    if (model !== undefined && model.name.replace('isa-debugcon', 'isa-debug') !== type)
      findings.report('xml-invalid', `${path}/model/@name`, `a ${type} is no ${model.name}`, 'Leave it out');
    const first = serial.findIndex((one) => one.target?.port === target?.port);
    if (target?.port !== undefined && isa.includes(i) && isa.includes(first) && first < i)
      findings.report('xml-invalid', `${path}/@port`, `two are port ${target.port}`, 'Number them differently');
  });
  for (const i of isa) {
    if (isa.indexOf(i) < 4 && (serial[i]?.target?.port ?? 0) < 4) continue;
    const path = pathOf('/domain/devices', 'serial', serial.length, i);
    findings.report('xml-invalid', path, 'there are four serial ports on ISA', "Use <target type='pci-serial'/>");
  }
}

/** A console is on a virtio-serial bus, or the first serial port under another name, with that one's address. */
function checkConsoles({ console, serial }: Devices, findings: Findings): void {
  console.forEach(({ target, address }, i) => {
    if (address === undefined) return;
    const port = serial[0] === undefined || isDeepStrictEqual(address, serial[0].address);
    const isOnBus = address.type === 'virtio-serial';
    if (target?.type === 'virtio' ? isOnBus : !isOnBus && i === 0 && port) return;
    const path = `${pathOf('/domain/devices', 'console', console.length, i)}/address`;
    findings.report('xml-invalid', path, 'this console is not there', 'Leave it out');
  });
}

function checkBackend(one: Backend, path: string, findings: Findings): void {
  const report = (below: string, what: string, hint: string) =>
    findings.report('xml-invalid', `${path}${below}`, what, hint);
  if (one.type === 'unix' && one.source?.mode === 'connect' && one.source.path === undefined)
    report('/source', 'there is no path to connect to', 'Add a path');
  const again = one.type === 'unix' || one.type === 'tcp' ? one.source : undefined;
  if (again?.mode === 'bind' && again.reconnect?.enabled === true)
    report('/source/reconnect', 'who is connected to cannot connect again', "Use mode='connect'");
  if (one.type !== 'udp') return;
  const ends = (mode: 'connect' | 'bind') => one.source.filter((end) => end.mode === mode);
  if (ends('connect').length !== 1 || ends('bind').length > 1)
    report('/source', 'there must be one place to send to and at most one to receive at', 'Give each once');
}
