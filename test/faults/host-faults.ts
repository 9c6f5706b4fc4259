/** What happens to agents, QEMUs, whole hosts and their disks. */
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Side } from '@ferry/lab';
import { agentOf, always, type Fault, hostOf, nothing, stoppedMs } from './fault.ts';
import { killQemuOn } from './kill.ts';

const killAgent = (side: Side): Fault => ({
  what: `kill -9 of the ${side} agent`,
  acts: [`${side}-agent`],
  applies: always,
  restart: true,
  strike: async (scene) => {
    const agent = agentOf(scene, side);
    await agent.kill('SIGKILL');
    return { lastsMs: 0, heal: () => agent.start() };
  },
});

const killQemu = (side: Side): Fault => ({
  what: `kill -9 of the ${side}’s QEMU`,
  acts: [`${side}-qemu`],
  applies: always,
  strike: async (scene) => {
    const killed = await killQemuOn(scene, side);
    return killed === undefined ? undefined : { lastsMs: 0, heal: nothing, killed };
  },
});

/** All processes of a host end at once, and its agents start again. */
const reboot = (side: Side): Fault => ({
  what: `the ${side}’s host rebooted: its agents and its QEMU killed at once, the agents started again`,
  acts: [`${side}-agent`, `${side}-qemu`],
  applies: always,
  strike: async (scene) => {
    const agents = (['source', 'dest'] as const).map((each) => scene.stage.agent(hostOf(scene, side), each));
    const [killed] = await Promise.all([killQemuOn(scene, side), ...agents.map((agent) => agent.kill('SIGKILL'))]);
    const heal = async (): Promise<void> => void (await Promise.all(agents.map((agent) => agent.start())));
    return { lastsMs: 0, heal, ...(killed === undefined ? {} : { killed }) };
  },
});

const stopAgent = (side: Side): Fault => ({
  what: `SIGSTOP of the ${side} agent for longer than the lease`,
  acts: [`${side}-agent`],
  applies: always,
  strike: async (scene) => {
    const agent = agentOf(scene, side);
    agent.signal('SIGSTOP');
    return { lastsMs: stoppedMs, heal: async () => agent.signal('SIGCONT'), holds: scene.side === side };
  },
});

const stopQemu = (side: Side): Fault => ({
  what: `SIGSTOP of the ${side}’s QEMU for longer than the lease`,
  acts: [`${side}-qemu`],
  applies: always,
  strike: async (scene) => {
    const qemu = scene.stage.qemuOf(hostOf(scene, side));
    if (qemu === undefined) return undefined;
    qemu.signal('SIGSTOP');
    return { lastsMs: stoppedMs, heal: async () => qemu.signal('SIGCONT') };
  },
});

export const hostFaults = {
  'kill-source-agent': killAgent('source'),
  'kill-dest-agent': killAgent('dest'),
  'kill-source-qemu': killQemu('source'),
  'kill-dest-qemu': killQemu('dest'),
  'reboot-source': reboot('source'),
  'reboot-dest': reboot('dest'),
  'stop-source-agent': stopAgent('source'),
  'stop-dest-agent': stopAgent('dest'),
  'stop-source-qemu': stopQemu('source'),
  'stop-dest-qemu': stopQemu('dest'),
  'disk-full': {
    what: 'the disk full under the journal',
    acts: ['disk'],
    applies: always,
    strike: async (scene) => {
      const { stage, side } = scene;
      const journals = stage.journalDisk(hostOf(scene, side));
      if (journals === undefined) return undefined;
      const filler = join(journals, 'filler');
      fill(filler);
      return { lastsMs: 600, heal: async () => rmSync(filler, { force: true }) };
    },
  },
} as const satisfies Readonly<Record<string, Fault>>;

/** Writes until there is no byte left. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (let size = 65_536; size >= 1; ) {
      try {
        writeFileSync(file, Buffer.alloc(size));
      } catch {
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(file);
  }
}
