/** What users do during a migration. */
import { invoke } from '@ferry/agent';
import { DomainsService } from '@ferry/proto/ferry/v1/domains';
import { setTimeout as delay } from 'node:timers/promises';
import { always, type Fault, nothing, type Scene } from './fault.ts';
import { executes } from './watch.ts';

const suspendedMs = 300;
const resumeEveryMs = 50;
const resumeMsMax = 10_000;
/** A suspend that its caller gives up may be carried out later. */
const callMs = { suspend: 15_000, resume: 2_000 } as const;

const names = { suspend: DomainsService.suspend, resume: DomainsService.resume } as const;

/** Whether one of the two hosts did it. */
async function asks({ stage, guest }: Scene, what: keyof typeof names): Promise<boolean> {
  const done = (['a', 'b'] as const).map(async (host) =>
    invoke(
      stage.host(host).clients.domains,
      names[what],
      { domain: guest.uuid },
      AbortSignal.timeout(callMs[what]),
    ).then(
      () => true,
      () => false,
    ),
  );
  return (await Promise.all(done)).includes(true);
}

/** Until the guest executes, or there is none, or its user has had enough. */
async function resumes(scene: Scene): Promise<void> {
  const limit = AbortSignal.timeout(resumeMsMax);
  const living = () => scene.stage.watch.living();
  while (!limit.aborted && living().length > 0 && !living().some(executes)) {
    await asks(scene, 'resume');
    await delay(resumeEveryMs);
  }
}

export const userFaults = {
  'user-suspends': {
    what: 'the user suspends the guest, and resumes it as soon as it may be',
    acts: ['source-qemu', 'dest-qemu'],
    applies: always,
    strike: async (scene) => {
      // The agent that stands still answers when it goes on.
      const asked = asks(scene, 'suspend');
      const after = async (): Promise<void> => {
        await asked;
        await resumes(scene);
      };
      return { lastsMs: suspendedMs, heal: nothing, after };
    },
  },
} as const satisfies Readonly<Record<string, Fault>>;
