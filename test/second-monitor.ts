/** A monitor of the test's own at every QEMU of a lab, for what a guest, an operator or another program does behind the agents' back. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LabHost } from '@ferry/lab';
import type { TestGuest, World } from './world.ts';

export class SecondMonitors implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), 'ferry-monitors-'));
  /** For FERRY_QEMU: starts QEMU with the monitor beside the agents'. */
  readonly qemu = join(this.#dir, 'qemu');

  constructor() {
    const monitor = `-chardev socket,id=second,path=${this.#dir}/$$.sock,server=on,wait=off -mon chardev=second,mode=control`;
    const script = `#!/bin/sh\ncase "$*" in *-incoming*|*-uuid*) exec qemu-system-x86_64 "$@" ${monitor};; esac\nexec qemu-system-x86_64 "$@"\n`;
    writeFileSync(this.qemu, script);
    chmodSync(this.qemu, 0o700);
  }

  /** Has the guest's QEMU on a host carry out a command; gives what it returns. Throws QEMU's refusal. */
  async execute(world: World, host: LabHost, guest: TestGuest, command: string, args: object = {}): Promise<unknown> {
    const qemu = world.lab.qemus().find((each) => each.host === host.name && each.domain === guest.uuid);
    if (qemu === undefined) throw new Error(`${host.name} has no QEMU of ${guest.name}`);
    const socket = connect(join(this.#dir, `${qemu.pid}.sock`));
    try {
      socket.write(`${JSON.stringify({ execute: 'qmp_capabilities', id: 0 })}\n`);
      socket.write(`${JSON.stringify({ execute: command, arguments: args, id: 1 })}\n`);
      for await (const line of createInterface(socket)) {
        const {
          id,
          error,
          return: result,
        } = JSON.parse(line) as { id?: number; error?: { desc: string }; return?: unknown };
        if (id !== 1) continue;
        if (error !== undefined) throw new Error(`${command}: ${error.desc}`);
        return result;
      }
      throw new Error(`${command}: the monitor was closed`);
    } finally {
      socket.destroy();
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
