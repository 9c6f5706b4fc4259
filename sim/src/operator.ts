/**
 * The person who is needed at the one moment that no agent can judge: the destination's QEMU has died together with everything that knew
 * whether it had gone on with the guest. This one knows, and waits long enough for the agents to settle it themselves.
 */
import { Resolution } from '@ferry/proto/ferry/v1/migration';
import { addressOf } from './agents.ts';
import { Life } from './timeline.ts';
import { guestUuid, type World } from './world.ts';

const patienceMs = 60_000;
const lookEveryMs = 5_000;

export class Operator {
  readonly #world: World;
  readonly #life = new Life('operator');
  #nextMs: number;
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
    const { source, qemus, rules, network, trace } = this.#world;
    const held = source.agent?.migrations.all().find(({ ongoing }) => ongoing.describe().doubt !== undefined);
    if (held === undefined || qemus.some((qemu) => qemu.incoming && qemu.alive)) return;
    const hasCopy = qemus.some((qemu) => !qemu.incoming && qemu.alive);
    const goesOn = hasCopy && !rules.cameToLife;
    const resolution = goesOn ? Resolution.RESOLUTION_RUN_HERE : Resolution.RESOLUTION_END_HERE;
    const { migrationId } = held.ongoing.start;
    const request = { migrationId, domain: guestUuid, goneHost: 'b', resolution };
    trace?.(`operator: b’s copy is gone, and it ${rules.cameToLife ? 'had gone on' : 'never went on'} with the guest`);
    network
      .call(
        { life: this.#life, host: 'c' },
        addressOf('a', 'source'),
        'resolveMigration',
        request,
        AbortSignal.timeout(20_000),
      )
      .then(
        () => {
          this.words += 1;
        },
        (error: unknown) => trace?.(`operator: ${String(error)}`),
      );
  }
}
