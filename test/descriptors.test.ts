/** Strangers who connect and say nothing, to agents that may open few files: connections, journals and migrations still find theirs. */
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { endOf, eventually, World } from './world.ts';

const openFilesMax = 256;
/** Of each agent: they alone would take all. */
const strangersEach = 300;

/** The agents as they are, by a shell that lowers the limit. */
function withFewFiles(side: 'source' | 'dest') {
  const cwd = join(import.meta.dirname, '..', 'services', `${side}-agent`);
  const agent = [process.execPath, join(cwd, 'src', 'main.ts')];
  return { file: '/bin/sh', args: ['-c', `ulimit -n ${openFilesMax} && exec "$0" "$@"`, ...agent], cwd };
}

/** Connects again whenever it is thrown out. */
class Stranger implements Disposable {
  readonly #port: number;
  #socket: Socket | undefined;

  constructor(address: string) {
    this.#port = Number(address.split(':').at(-1));
    this.#connect();
  }

  #connect(): void {
    this.#socket = connect(this.#port, '127.0.0.1').on('error', () => undefined);
    this.#socket.resume().once('close', () => {
      if (this.#socket !== undefined) setTimeout(() => this.#socket && this.#connect(), 50);
    });
  }

  get connected(): boolean {
    return this.#socket?.readyState === 'open';
  }

  [Symbol.dispose](): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }
}

const openFiles = (pid: number | undefined): number => readdirSync(`/proc/${pid}/fd`).length;

it('a migration between agents that may open 256 files, beside 300 silent connections to each', async () => {
  await using world = await World.start({ command: withFewFiles });
  const guest = await world.boot(world.a);
  const agents = [world.a.source, world.b.dest];
  using strangers = new DisposableStack();
  const all = agents.flatMap(({ address }) =>
    Array.from({ length: strangersEach }, () => strangers.use(new Stranger(address))),
  );
  await eventually('many of them are connected', () => all.filter(({ connected }) => connected).length > 100);
  const { outcome, failure } = endOf(await world.migrate(guest));
  expect({ outcome, failure }).toEqual({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
  for (const { pid } of agents) expect(openFiles(pid)).toBeLessThan(openFilesMax * 0.75);
  await world.expectSettled(guest, world.b);
});
