/**
 * The person who is needed at the one moment that no agent can judge: the other host is gone for good, or its QEMU has died together with
 * everything that knew whether it had gone on with the guest. This one knows, and waits long enough for the agents to settle it themselves.
 */
import { failureOf } from '@ferry/agent';
import { Resolution } from '@ferry/proto/ferry/v1/migration';
import { addressOf, type AgentProcess } from './agents.ts';
import { Life } from './timeline.ts';
import { guestUuid, type World } from './world.ts';

const patienceMs = 60_000;
const lookEveryMs = 5_000;

export class Operator {
  readonly #world: World;
  readonly #life = new Life('operator');
  #nextMs: number;
  /** An agent has refused to let its copy go on: it is to be ended. */
  #refused = false;
  /** Migrations that were settled by a word. */
  words = 0;

  constructor(world: World) {
    this.#world = world;
    this.#nextMs = patienceMs;
  }

  /** To be called while nothing goes wrong any more, `sinceMs` after the last fault. */
  look(sinceMs: number): void {
    if (sinceMs < this.#nextMs) return;
    this.#nextMs = sinceMs + lookEveryMs;
    const { source, dest, qemus, rules } = this.#world;
    const hasCopy = (incoming: boolean): boolean => qemus.some((qemu) => qemu.incoming === incoming && qemu.alive);
    if (!hasCopy(true)) this.#settle(source, 'b', hasCopy(false) && !rules.cameToLife);
    if (source.host.gone) this.#settle(dest, 'a', hasCopy(true) && rules.sentWhole && !rules.wentBack);
  }

  /** Says that the other host is gone, and whether this copy is the guest as it was left. */
  #settle({ agent, host, side }: AgentProcess, goneHost: string, isGuest: boolean): void {
    const { network, trace, rules } = this.#world;
    const held = agent?.migrations.all().find(({ ongoing }) => ongoing.describe().doubt !== undefined);
    if (held === undefined) return;
    const resolution = isGuest && !this.#refused ? Resolution.RESOLUTION_RUN_HERE : Resolution.RESOLUTION_END_HERE;
    const { migrationId } = held.ongoing.start;
    const request = { migrationId, domain: guestUuid, goneHost, resolution };
    trace?.(`operator: the copy on ${goneHost} is gone, the one on ${host.name} is ${isGuest ? '' : 'not '}the guest`);
    const commits = side === 'dest' && resolution === Resolution.RESOLUTION_RUN_HERE;
    rules.committedByWord ||= commits;
    const from = { life: this.#life, host: 'c' };
    network.call(from, addressOf(host.name, side), 'resolveMigration', request, AbortSignal.timeout(20_000)).then(
      () => {
        this.words += 1;
      },
      (error: unknown) => {
        const refused = failureOf(error, { side }).reason === 'resolution-disproved';
        this.#refused ||= refused;
        if (refused && commits) rules.committedByWord = false;
        trace?.(`operator: ${String(error)}`);
      },
    );
  }
}
