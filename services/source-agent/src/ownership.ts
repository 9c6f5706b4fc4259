/** Keeps the ownership records true to what runs on this host: a guest that runs is claimed, one that has ended is given up. */
import type { BlackoutGate, Log } from '@ferry/agent';
import { HandoverError, type Owner, type OwnerRecords } from '@ferry/handover';
import { type Guest, type Hypervisor, HypervisorError } from '@ferry/hypervisor';
import type { Clock } from '@ferry/jobs';

/** How often all guests are looked at; their ends are seen at once. */
const lookMs = 5_000;
/** Every so many looks the records are read through for guests of this host that have left nothing behind here. */
const looksPerScan = 12;
/** How long a QEMU may take to say whether its guest runs. */
const answerMs = 2_000;
/** How long a QEMU whose monitor has ended may take to be gone. */
const goneMs = 30_000;
const goneLookMs = 20;

export interface OwnershipWorld {
  readonly host: string;
  readonly hypervisor: Pick<
    Hypervisor,
    'places' | 'find' | 'guest' | 'runState' | 'isAlive' | 'collectEnded' | 'trimLogs' | 'settle' | 'end'
  >;
  readonly owners: OwnerRecords;
  readonly clock: Clock;
  readonly log: Log;
  /** While it is closed nothing is looked at. */
  readonly gate: BlackoutGate;
  /** A migration holds the domain here: who owns it is being decided. */
  readonly migrating: (domain: string, signal: AbortSignal) => Promise<boolean>;
  /** Runs `act` while nobody else may start, end or migrate the domain, unless a migration of it is not settled here. Throws if somebody does. */
  readonly underJob: (domain: string, signal: AbortSignal, act: () => Promise<void>) => Promise<void>;
}

type Sight = 'runs' | 'gone' | 'never-started' | 'unclear';

/**
 * Only a QEMU that executes its guest is evidence; one that is paused, waits for a guest, or has sent it away is none. Two hosts that both
 * run a guest are an accident that nobody here can undo: it is reported, and the record stays as it is.
 */
export class OwnershipKeeper implements AsyncDisposable {
  readonly #world: OwnershipWorld;
  readonly #stopping = new AbortController();
  /** Domains that this host owns, as far as is known. */
  readonly #owned = new Set<string>();
  readonly #watched = new WeakSet<object>();
  /** Domains that are being started or taken over: what is here of them is not all yet. */
  readonly #coming = new Set<string>();
  #suspects = new Set<string>();
  #lookedAtMs = -Infinity;
  #looks = 0;
  #scanDue = true;
  #wake = Promise.withResolvers<void>();
  #ticking: Promise<void> = Promise.resolve();

  constructor(world: OwnershipWorld) {
    this.#world = world;
  }

  /** Looks at once, and then now and then, until disposed of. */
  startTicking(): void {
    this.#ticking = this.#tickUntilStopped();
  }

  /** Until disposed of, a guest that is not here is not given up, and one that does not run yet not ended: it is being started or taken over. */
  expect(domain: string): Disposable {
    this.#coming.add(domain);
    return { [Symbol.dispose]: () => void this.#coming.delete(domain) };
  }

  /** A guest has been started here: its end is to be noticed. */
  watch(guest: Pick<Guest, 'uuid' | 'process' | 'monitor'>): void {
    this.#owned.add(guest.uuid);
    if (this.#watched.has(guest.monitor)) return;
    this.#watched.add(guest.monitor);
    const ended = (): void => void this.#untilGone(guest);
    guest.monitor.closed.addEventListener('abort', ended, { once: true });
  }

  async #untilGone(guest: Pick<Guest, 'uuid' | 'process'>): Promise<void> {
    const { clock, hypervisor } = this.#world;
    const patienceEnds = clock.monotonic() + goneMs;
    while (hypervisor.isAlive(guest) && clock.monotonic() < patienceEnds && !this.#stopping.signal.aborted)
      await new Promise<void>((resolve) => clock.after(goneLookMs, resolve));
    this.#suspects.add(guest.uuid);
    this.#wake.resolve();
  }

  async #tickUntilStopped(): Promise<void> {
    const { owners, clock, log } = this.#world;
    const { signal } = this.#stopping;
    owners.onBack(() => {
      this.#scanDue = true;
      this.#wake.resolve();
    });
    signal.addEventListener('abort', () => this.#wake.resolve(), { once: true });
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers();
      await this.#world.gate.opened();
      try {
        await (this.#scanDue || clock.monotonic() - this.#lookedAtMs >= lookMs
          ? this.#lookAtAll(signal)
          : this.#lookAtSuspects(signal));
      } catch (error) {
        // Redis is away, or a file is damaged. What is known stays as it is.
        if (!signal.aborted) log.warn({ err: error }, 'who owns this host’s guests cannot be looked at');
      }
      using _next = clock.after(lookMs, () => this.#wake.resolve());
      if (!signal.aborted) await this.#wake.promise;
    }
  }

  async #lookAtSuspects(signal: AbortSignal): Promise<void> {
    const suspects = this.#suspects;
    this.#suspects = new Set();
    for (const domain of suspects) await this.lookAt(domain, signal);
  }

  async #lookAtAll(signal: AbortSignal): Promise<void> {
    this.#lookedAtMs = this.#world.clock.monotonic();
    this.#looks += 1;
    if (this.#scanDue || this.#looks % looksPerScan === 0) {
      for await (const { domain, host } of this.#world.owners.all(signal, (damaged, error) =>
        this.#reportDamaged(damaged, error),
      )) {
        if (host === this.#world.host) this.#owned.add(domain);
      }
      this.#scanDue = false;
    }
    const { hypervisor, log } = this.#world;
    await hypervisor.trimLogs().catch((error: unknown) => log.warn({ err: error }, 'a log of QEMU cannot be cut'));
    const here = await hypervisor.places();
    for (const domain of new Set([...here, ...this.#owned])) {
      // One record that is damaged must not keep the others from being put right.
      await this.lookAt(domain, signal).catch((error: unknown) => {
        if (!(error instanceof HandoverError) || error.kind !== 'register-reply') throw error;
        this.#reportDamaged(domain, error);
      });
    }
  }

  #reportDamaged(domain: string, error: HandoverError): void {
    this.#world.log.warn({ err: error, domain }, 'an ownership record is damaged and was skipped');
  }

  /** Claims a guest that runs here, and gives up one that has ended. Throws HandoverError. */
  async lookAt(domain: string, signal: AbortSignal): Promise<void> {
    const { host, owners, migrating, gate } = this.#world;
    await gate.opened();
    // In this order: a claim that is made after this look has another epoch, and is not released by mistake.
    const owner = await owners.of(domain, signal);
    const sight = await this.#see(domain, signal);
    if (sight === 'runs') await this.#claim(domain, owner, signal);
    else if (owner?.host !== host) this.#owned.delete(domain);
    else if (sight === 'gone' && !this.#coming.has(domain) && !(await migrating(domain, signal)))
      await this.#release(owner, signal);
    else this.#owned.add(domain);
    if (sight === 'gone') await this.#collect(domain, signal);
    if (sight === 'never-started' && !this.#coming.has(domain)) await this.#endUnstarted(domain, signal);
  }

  /** For callers that hold the domain's job. A Start that the end of the agent cut off has told its caller of no guest: one that is repeated is to find none. */
  async endIfNeverStarted(domain: string, signal: AbortSignal): Promise<void> {
    if (this.#coming.has(domain) || (await this.#see(domain, signal)) !== 'never-started') return;
    const { hypervisor, log } = this.#world;
    await hypervisor.end(await hypervisor.guest(domain, signal), 'kill');
    log.info({ domain }, 'the agent ended while it started this domain: its QEMU, which never ran, is ended');
  }

  async #endUnstarted(domain: string, signal: AbortSignal): Promise<void> {
    const { underJob, log } = this.#world;
    try {
      await underJob(domain, signal, () => this.endIfNeverStarted(domain, signal));
    } catch (error) {
      signal.throwIfAborted();
      log.info({ err: error, domain }, 'a QEMU that was never started cannot be ended yet');
    }
  }

  /** What a guest that ended by itself has left is removed under a job, so that none is started or taken in meanwhile; if there is one, the next look tries again. */
  async #collect(domain: string, signal: AbortSignal): Promise<void> {
    const { hypervisor, migrating, underJob, log } = this.#world;
    if (this.#coming.has(domain) || !(await hypervisor.places()).includes(domain) || (await migrating(domain, signal)))
      return;
    try {
      await underJob(domain, signal, async () => {
        if (await hypervisor.collectEnded(domain))
          log.info({ domain }, 'what a guest that has ended left here is removed');
      });
    } catch (error) {
      signal.throwIfAborted();
      log.info({ err: error, domain }, 'what a guest that has ended left here cannot be removed yet');
    }
  }

  async #see(domain: string, signal: AbortSignal): Promise<Sight> {
    const { hypervisor } = this.#world;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    try {
      const { incoming, starting } = await hypervisor.find(domain);
      if (incoming !== undefined) return 'unclear';
      const guest = await hypervisor.guest(domain, patience);
      this.watch(guest);
      const status = await hypervisor.runState(guest, 0, patience);
      if (starting === true && status === 'prelaunch') return 'never-started';
      // It has run.
      if (starting === true) await hypervisor.settle(guest);
      return status === 'running' ? 'runs' : 'unclear';
    } catch (error) {
      signal.throwIfAborted();
      return error instanceof HypervisorError && error.kind === 'domain-not-found' ? 'gone' : 'unclear';
    }
  }

  async #claim(domain: string, known: Owner | undefined, signal: AbortSignal): Promise<void> {
    const { host, owners, hypervisor, log } = this.#world;
    const { name } = await hypervisor.find(domain);
    try {
      const evidence = `its QEMU runs on host ${host}`;
      const owner = await owners.claim({ uuid: domain, name }, 'seen', evidence, signal);
      this.#owned.add(domain);
      if (owner.evidence === evidence && owner.epoch !== known?.epoch)
        log.warn(
          { domain, epoch: owner.epoch, before: known },
          'the guest runs here and the record did not say so: claimed',
        );
    } catch (error) {
      if (!(error instanceof HandoverError) || error.kind !== 'owned-elsewhere') throw error;
      // It may have left between the two questions.
      if ((await this.#see(domain, signal)) !== 'runs') return;
      log.error({ err: error, domain }, 'the guest runs on this host and belongs to another one');
    }
  }

  async #release(owner: Owner, signal: AbortSignal): Promise<void> {
    const { host, owners, log } = this.#world;
    await owners.release(owner, `its QEMU on host ${host} has ended`, signal);
    this.#owned.delete(owner.domain);
    log.info({ domain: owner.domain, epoch: owner.epoch }, 'the guest has ended: nobody owns it');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#ticking;
  }
}
