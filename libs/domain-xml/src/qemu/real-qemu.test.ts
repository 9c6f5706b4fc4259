import { describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { completeDomain } from '../complete.ts';
import type { Domain } from '../domain.ts';
import { parseDomain } from '../parse.ts';
import { qemuArguments } from './arguments.ts';

/** Starts a real QEMU, stopped, and asks over a bare socket where its devices are. */
async function devicesOf(domain: Domain, directory: string): Promise<Record<string, string>> {
  const socket = join(directory, 'qmp');
  const launcher = ['-S', '-nodefaults', '-no-user-config', '-display', 'none'];
  // QEMU connects to us, so there is nothing to wait for.
  const server = createServer().listen(socket);
  await once(server, 'listening');
  const qemu = spawn('qemu-system-x86_64', [...launcher, '-qmp', `unix:${socket}`, ...qemuArguments(domain)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  qemu.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  const ended = once(qemu, 'close').then(() => {
    throw new Error(`QEMU ended: ${complaint}`);
  });
  ended.catch(() => {});
  try {
    const connected = once(server, 'connection').then(([connection]: Socket[]) => ask(connection));
    return await Promise.race([ended, connected]);
  } finally {
    qemu.kill('SIGKILL');
    await ended.catch(() => {});
    server.close();
  }
}

/** Where each device with a PCI address is: `{ net0: 'pci.1 00.0' }`. */
async function ask(connection: Socket | undefined): Promise<Record<string, string>> {
  if (connection === undefined) throw new Error('no connection');
  const lines = createInterface(connection)[Symbol.asyncIterator]();
  const read = async () => JSON.parse(String((await lines.next()).value)) as { return?: unknown; event?: string };
  const execute = async (name: string, args: Record<string, string> = {}): Promise<unknown> => {
    connection.write(`${JSON.stringify({ execute: name, arguments: args })}\n`);
    let reply = await read();
    while (reply.event !== undefined) reply = await read();
    return reply.return;
  };
  await read();
  await execute('qmp_capabilities');
  const found: Record<string, string> = {};
  // A stopped guest has no firmware that numbered its buses: what query-pci leaves out, QOM knows.
  for (const { name } of (await execute('qom-list', { path: '/machine/peripheral' })) as { name: string }[]) {
    const path = `/machine/peripheral/${name}`;
    const addr = await execute('qom-get', { path, property: 'addr' });
    const bus = await execute('qom-get', { path, property: 'parent_bus' });
    if (typeof addr !== 'number') continue;
    found[name] = `${String(bus).split('/').at(-1)} ${(addr >> 3).toString(16).padStart(2, '0')}.${addr & 7}`;
  }
  return found;
}

async function withDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'ferry-domain-xml-'));
  try {
    return await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const complete = (xml: string, directory: string) =>
  completeDomain(parseDomain(xml, { allowedRoots: [directory], maxBytes: 1 << 20 }), { machineAliases: {} });

describe('a real QEMU accepts the arguments', () => {
  it('of a guest that is only a firmware ROM', async () => {
    const devices = await withDirectory((directory) => {
      writeFileSync(join(directory, 'guest.rom'), Buffer.alloc(65_536, 0xf4));
      return devicesOf(
        complete(
          `<domain type='qemu'><name>tiny</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
            <sysinfo type='fwcfg'><entry name='opt/ferry.guest'>dirty=16M tick=10</entry></sysinfo>
            <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
              <loader readonly='yes' type='rom'>${directory}/guest.rom</loader></os>
            <devices><serial type='unix'><source path='${directory}/serial'/></serial></devices></domain>`,
          directory,
        ),
        directory,
      );
    });
    expect(devices).toEqual({ 'pci.1': 'pcie.0 01.0', balloon0: 'pci.1 00.0', 'pci.2': 'pcie.0 01.1' });
  });

  it.each(['pc-q35-7.2', 'pc-i440fx-7.2'])('of a %s machine with disks and network cards', async (machine) => {
    const devices = await withDirectory((directory) => {
      for (const disk of ['a', 'b']) writeFileSync(join(directory, disk), Buffer.alloc(1 << 20));
      return devicesOf(
        complete(
          `<domain type='qemu'><name>web-1</name><memory unit='MiB'>64</memory><vcpu>4</vcpu>
            <os><type arch='x86_64' machine='${machine}'>hvm</type><boot dev='hd'/></os>
            <features><acpi/><apic/></features>
            <cpu mode='custom'><model>qemu64</model><topology sockets='2' cores='2' threads='1'/></cpu>
            <devices>
              <disk type='file'><driver name='qemu' type='raw' cache='writeback' discard='unmap'/>
                <source file='${directory}/a'/><target dev='vda'/><serial>WD-1</serial></disk>
              <disk type='file'><source file='${directory}/b'/><target dev='sdb' bus='sata'/><shareable/></disk>
              <interface type='user'><mac address='52:54:00:09:a4:37'/><model type='virtio'/></interface>
              <serial type='null'/>
            </devices></domain>`,
          directory,
        ),
        directory,
      );
    });
    const q35 = {
      'pci.1': 'pcie.0 01.0',
      'pci.2': 'pcie.0 01.1',
      'pci.3': 'pcie.0 01.2',
      'pci.4': 'pcie.0 01.3',
      net0: 'pci.1 00.0',
      'virtio-disk0': 'pci.2 00.0',
      balloon0: 'pci.3 00.0',
    };
    const pc = { net0: 'pci.0 02.0', sata0: 'pci.0 03.0', 'virtio-disk0': 'pci.0 04.0', balloon0: 'pci.0 05.0' };
    expect(devices).toEqual(machine.includes('q35') ? q35 : pc);
  });
});
