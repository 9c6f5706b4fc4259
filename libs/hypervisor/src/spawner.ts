/**
 * Starts QEMUs from a small process beside the agent. fork(2) copies the page tables of whoever calls it, and Node waits in its event loop until the
 * new program is executed: with the 200 to 300 MiB of a busy agent that is 20 to 40 ms for each QEMU, in which nothing else is done, and more where
 * others want the processor. As long as the helper is not there, the agent starts them itself.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import type { ProcessIdentity } from './qemu-process.ts';
import { spawnDetached, type SpawnOrder } from './spawn-detached.ts';
import type { HelperOrder, HelperReply } from './spawn-helper.ts';

interface Waiting {
  readonly started: (process: ProcessIdentity | undefined) => void;
  readonly failed: (error: unknown) => void;
  readonly ended: (how: string) => void;
}

export class Spawner implements AsyncDisposable {
  readonly #waiting = new Map<number, Waiting>();
  #helper: ChildProcess | undefined;
  #isReady = false;
  #orders = 0;

  /** The helper's pid, once it takes orders. */
  get helperPid(): number | undefined {
    return this.#isReady ? this.#helper?.pid : undefined;
  }

  /**
   * Starts a program that outlives this process; its output is appended to the file `log`. Gives who it is; undefined if it could not be started, or has
   * ended already. `ended` is called with how it ended, as long as this process lives. Throws where the helper has ended meanwhile: the program may
   * have been started.
   */
  async spawn(
    order: SpawnOrder & { readonly log: string },
    ended: (how: string) => void,
  ): Promise<ProcessIdentity | undefined> {
    const helper = this.#ready();
    if (helper === undefined) {
      await using log = await open(order.log, 'a', 0o600);
      return spawnDetached(order, log.fd, ended);
    }
    this.#orders += 1;
    const id = this.#orders;
    const { promise, resolve: started, reject: failed } = Promise.withResolvers<ProcessIdentity | undefined>();
    this.#waiting.set(id, { started, failed, ended });
    const message: HelperOrder = { ...order, id };
    // Nothing will be heard of it.
    const unsent = (error: unknown): void => {
      this.#waiting.delete(id);
      failed(error);
    };
    try {
      helper.send(message, (error) => {
        if (error !== null) unsent(error);
      });
    } catch (error) {
      unsent(error);
    }
    return promise;
  }

  /** The helper if it takes orders; the first who asks has it started. */
  #ready(): ChildProcess | undefined {
    if (this.#helper === undefined) this.#start();
    return this.#isReady ? this.#helper : undefined;
  }

  /** It keeps this process no longer alive than anything else does, and ends with it. */
  #start(): void {
    const helper = fork(new URL('./spawn-helper.ts', import.meta.url), {
      execArgv: ['--max-semi-space-size=1'],
      env: {},
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true,
    });
    this.#helper = helper;
    helper.unref();
    helper.channel?.unref();
    helper.on('message', (reply: HelperReply | 'ready') => {
      if (reply === 'ready') this.#isReady = this.#helper === helper;
      else this.#hear(reply);
    });
    // Also of one that cannot be started.
    helper.on('error', () => this.#lost(helper));
    helper.once('exit', () => this.#lost(helper));
  }

  #hear(reply: HelperReply): void {
    const waiting = this.#waiting.get(reply.id);
    if (reply.what === 'started') return waiting?.started(reply.process);
    this.#waiting.delete(reply.id);
    waiting?.ended(reply.how);
  }

  /** The next order has another one started. Of what it has started nobody hears the end, which the monitors tell as well. */
  #lost(helper: ChildProcess): void {
    if (this.#helper !== helper) return;
    this.#helper = undefined;
    this.#isReady = false;
    for (const { failed } of this.#waiting.values()) failed(new Error('the process that starts QEMUs has ended'));
    this.#waiting.clear();
  }

  /** What was started goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    const helper = this.#helper;
    if (helper === undefined) return;
    this.#helper = undefined;
    this.#isReady = false;
    const gone = helper.exitCode === null && helper.signalCode === null ? once(helper, 'exit') : undefined;
    helper.kill('SIGKILL');
    await gone;
  }
}
