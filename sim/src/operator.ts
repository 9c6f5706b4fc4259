/**
 * The person who is needed at the one moment that no agent can judge: the other host is gone for good, or its QEMU has died together with
 * everything that knew whether it had gone on with the guest. This one knows. Most wait long enough for the agents to settle it themselves; some come
 * while things still go wrong.
 */
import { type Ongoing } from '@ferry/agent';
import { Resolution } from '@ferry/proto/ferry/v1/migration';
import { FailureError, failureOf } from '@ferry/rpc';
import { addressOf, type AgentProcess } from './agents.ts';
import type { Qemu } from './qemu.ts';
import { Life } from './timeline.ts';
import { guestUuid, type World } from './world.ts';

const patienceMs = 60_000;
const lookEveryMs = 5_000;
/** One who does not wait looks so often. */
const hurryMs = 500;

export class Operator {
  readonly #world: World;
  readonly #life = new Life('operator');
  /** An agent has refused to let its copy go on: it is to be ended. */
  #refused = false;
  /** Migrations that were settled by a word. */
  words = 0;

  constructor(world: World) {
    this.#world = world;
    const { plan, timeline } = world;
    const { operatorMs, healsAtMs } = plan;
    const firstMs = operatorMs ?? healsAtMs + patienceMs;
    timeline.after(undefined, firstMs, () => this.#look(operatorMs === undefined ? lookEveryMs : hurryMs));
  }

  #look(everyMs: number): void {
    this.#world.timeline.after(undefined, everyMs, () => this.#look(everyMs));
    for (const process of this.#world.agents) {
      const held = process.agent?.migrations.all().find(({ ongoing }) => ongoing.describe().doubt !== undefined);
      if (held !== undefined && !process.host.gone) this.#judge(process, held.ongoing);
    }
  }

  /** Says what it knows: that the other copy is dead, or its host gone, and which copy went on with the guest. */
  #judge(process: AgentProcess, { start: { migrationId }, peer }: Ongoing): void {
    const { qemus, hosts } = this.#world;
    const came = qemus.filter((qemu) => qemu.migrationId === migrationId);
    const sent = qemus.find(({ departure }) => came.some((qemu) => departure?.dest === qemu));
    const way = sent?.departure;
    if (process.side === 'source') {
      const other = came[0]?.host ?? this.#world.leg.to;
      const isGuest = sent?.alive === true && way?.wentOn.dest !== true;
      if (!came.some(({ alive }) => alive)) this.#settle(process, migrationId, other, isGuest ? sent : undefined);
    } else if (sent === undefined) {
      // Nothing was sent: what waited here never held the guest.
      const from = Object.values(hosts).find(({ name }) => name === (peer === '' ? this.#world.leg.from : peer));
      if (from?.gone === true) this.#settle(process, migrationId, from.name, undefined);
    } else if (hosts[sent.host].gone || !sent.alive) {
      const isGuest = way?.completed === true && !way.wentOn.source;
      this.#settle(process, migrationId, sent.host, isGuest ? came.find(({ alive }) => alive) : undefined);
    }
  }

  /** Says that the other host is gone, and whether the copy here is the guest as it was left. */
  #settle({ host, side }: AgentProcess, migrationId: string, goneHost: string, guest: Qemu | undefined): void {
    const { network, trace, rules } = this.#world;
    const isGuest = guest !== undefined;
    const resolution = isGuest && !this.#refused ? Resolution.RESOLUTION_RUN_HERE : Resolution.RESOLUTION_END_HERE;
    const request = { migrationId, domain: guestUuid, goneHost, resolution };
    trace?.(`operator: the copy on ${goneHost} is gone, the one on ${host.name} is ${isGuest ? '' : 'not '}the guest`);
    const commits = side === 'dest' && resolution === Resolution.RESOLUTION_RUN_HERE;
    const handover = rules.handover(migrationId);
    handover.committedByWord ||= commits;
    // No agent knows that the copy is not older than the disks: it is ended, and the guest is to be started anew.
    if (isGuest && this.#refused) rules.endedByWord(guest);
    const from = { life: this.#life, host: 'client' };
    network.call(from, addressOf(host.name, side), 'resolveMigration', request, AbortSignal.timeout(20_000)).then(
      () => {
        this.words += 1;
      },
      (error: unknown) => {
        const refused = failureOf(error, { side }).reason === 'resolution-disproved';
        this.#refused ||= refused;
        // An agent that answers has not done it; where the connection broke it may have.
        if (error instanceof FailureError && commits) handover.committedByWord = false;
        trace?.(`operator: ${String(error)}`);
      },
    );
  }
}
