/** Documents that callers give are read beside the event loop: a guest in its blackout waits for nobody's XML. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type Domain, DomainXmlError } from '@ferry/domain-xml';
import type { DocumentReply, DocumentRequest } from './document-worker.ts';

/** Ten times what the worst document known costs; a busy machine makes it slower than that. */
const readMs = 10_000;

export class DocumentReader implements AsyncDisposable {
  readonly #readMs: number;
  #worker: Worker | undefined;
  /** One at a time: a document that is not read in time takes no other's time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(patienceMs = readMs) {
    this.#readMs = patienceMs;
    this.#worker = start();
  }

  /** Throws DomainXmlError, or the signal's reason: what has been begun is read to its end then, for nobody. */
  async read(request: DocumentRequest, signal: AbortSignal): Promise<Domain> {
    const turn = this.#turn.then(() => this.#readNow(request, signal));
    this.#turn = turn.catch(() => undefined);
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([turn, aborted]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  async #readNow(request: DocumentRequest, signal: AbortSignal): Promise<Domain> {
    signal.throwIfAborted();
    const worker = (this.#worker ??= start());
    const patience = AbortSignal.timeout(this.#readMs);
    // A thread that is idle keeps no process alive; an answer that is waited for does.
    worker.ref();
    let reply: DocumentReply;
    try {
      const answered = once(worker, 'message', { signal: patience });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage(request);
      [reply] = (await answered) as [DocumentReply];
    } catch (error) {
      // It may be busy with this document for as long as it likes: the next one gets a new thread.
      this.#worker = undefined;
      await worker.terminate();
      if (!patience.aborted) throw error;
      const what = `it cannot be read within ${this.#readMs} ms`;
      throw new DomainXmlError('xml-invalid', [{ path: '/domain', line: 0, what, hint: 'Make it simpler' }]);
    } finally {
      worker.unref();
    }
    if ('domain' in reply) return reply.domain;
    if ('refused' in reply) throw new DomainXmlError(reply.refused.kind, reply.refused.problems);
    throw reply.failed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }
}

/** Without the options and the environment of this process, which are meant for its main thread. */
function start(): Worker {
  const worker = new Worker(new URL('./document-worker.ts', import.meta.url), {
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 256 },
  });
  worker.unref();
  return worker;
}
