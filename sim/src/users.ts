/** The guest's users: they suspend, resume, shut down and end it, and start it elsewhere, also while it is migrated or in doubt. */
import { addressOf } from './agents.ts';
import type { HostName } from './host.ts';
import { Life } from './timeline.ts';
import { guestUuid, type World } from './world.ts';

export const userActs = ['suspend', 'resume', 'shutdown', 'destroy', 'start'] as const;
export type UserAct = (typeof userActs)[number];

/** What a user does, and when. */
export interface UserPlan {
  readonly act: UserAct;
  /** On which host; undefined: where the guest was when its latest migration was asked for. */
  readonly host: HostName | undefined;
  readonly atMs: number;
}

const patienceMs = 20_000;

export class Users {
  readonly #world: World;
  readonly #life = new Life('user');
  /** Those who have not done yet what they are going to. */
  #left: number;

  constructor(world: World) {
    this.#world = world;
    const { users } = world.plan;
    this.#left = users.length;
    for (const user of users) {
      world.timeline.after(undefined, user.atMs, () => {
        this.#do(user)
          .catch((error: unknown) => world.trace?.(`user: ${user.act}: ${String(error)}`))
          .finally(() => {
            this.#left -= 1;
          });
      });
    }
  }

  get done(): boolean {
    return this.#left === 0;
  }

  async #do({ act, host = this.#world.leg.from }: UserPlan): Promise<void> {
    const { network, rules, trace, xml } = this.#world;
    trace?.(`user: ${act} on ${host}`);
    rules.wished(act, host);
    const request = act === 'start' ? { domainXml: xml, paused: false } : { domain: guestUuid };
    const signal = AbortSignal.timeout(patienceMs);
    await network.call({ life: this.#life, host: 'client' }, addressOf(host, 'source'), act, request, signal);
    trace?.(`user: ${act} on ${host} done`);
  }
}
