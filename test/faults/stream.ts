/** The way of the memory through a proxy: it goes through a UNIX socket, whose place a proxy takes before the source connects to it. */
import { randomUUID } from 'node:crypto';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Point } from './points.ts';
import { type LinkMode, Proxy } from './proxy.ts';
import { type HostName, type Stage, untilStopped } from './stage.ts';

export const streamStop = (protocol: 2 | 3): Point => ({
  phase: protocol === 3 ? 'perform3' : 'perform2',
  act: 'qmp:migrate',
  nth: 1,
  when: 'before',
});

export class Stream implements AsyncDisposable {
  readonly #path: string;
  readonly #stage: Stage;
  readonly #mode: LinkMode;
  proxy: Proxy | undefined;

  constructor(stage: Stage, mode: LinkMode) {
    this.#stage = stage;
    this.#mode = mode;
    this.#path = join(stage.lab.dir, 'sockets', `stream-${randomUUID()}`);
    for (const path of [this.#path, `${this.#path}.real`]) rmSync(path, { force: true });
  }

  get uri(): string {
    return `unix:${this.#path}`;
  }

  /** When the source stands before `migrate`: takes the socket's place and lets it go on. */
  async route(from: HostName): Promise<void> {
    if (this.proxy !== undefined || !existsSync(this.#path)) return;
    if (!this.#stage.passed(from, 'source').some((each) => each.stopped && each.act === 'qmp:migrate')) return;
    renameSync(this.#path, `${this.#path}.real`);
    this.proxy = await Proxy.listen({ path: this.#path }, { path: `${this.#path}.real` });
    this.proxy.mode = this.#mode;
    const agent = this.#stage.agent(from, 'source');
    await untilStopped(agent.pid);
    agent.signal('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy?.[Symbol.asyncDispose]();
    for (const path of [this.#path, `${this.#path}.real`]) rmSync(path, { force: true });
  }
}
