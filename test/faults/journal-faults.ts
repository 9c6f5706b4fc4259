/** What happens to the journal of the agent that stands still: it is killed, and started again without what it had noted. */
import { existsSync, mkdirSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { agentOf, type Fault, hostOf } from './fault.ts';
import { opening } from './points.ts';

const unreadableMs = 600;

/** Gives what makes the journal as it was, if anything does. */
const damage = (what: string, strike: (path: string) => (() => void) | undefined): Fault => ({
  what: `kill -9 of the agent, and its journal ${what} when it starts again`,
  acts: ['source-agent', 'dest-agent', 'disk'],
  applies: ({ point }) => point.phase !== opening,
  strike: async (scene) => {
    const { stage, side, caller } = scene;
    const path = stage.journalOf(hostOf(scene, side), side, caller.migrationId);
    if (!existsSync(path)) return undefined;
    const agent = agentOf(scene, side);
    await agent.kill('SIGKILL');
    const undo = strike(path);
    const heal = async (): Promise<void> => {
      await agent.start();
      if (undo === undefined) return;
      await delay(unreadableMs);
      undo();
    };
    return { lastsMs: 0, heal };
  },
});

export const journalFaults = {
  'empty-journal': damage('empty', (path) => {
    truncateSync(path);
    return undefined;
  }),
  'lose-journal': damage('gone', (path) => {
    rmSync(path);
    return undefined;
  }),
  'hide-journal': damage('unreadable for a while', (path) => {
    renameSync(path, `${path}.hidden`);
    mkdirSync(path);
    return () => {
      rmSync(path, { recursive: true });
      renameSync(`${path}.hidden`, path);
    };
  }),
} as const satisfies Readonly<Record<string, Fault>>;
