/**
 * Loaded into an agent before everything else (`--import`), by the fault matrix only. Sees every act's begin and end, since each is a span,
 * and stops the agent's own process where the plan says so: what the controller does then happens at exactly that point.
 */
// oxlint-disable typescript/unbound-method -- methods are taken from prototypes to be wrapped, and called with the object they belong to
import { appendFileSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { MigrationJobs } from '@ferry/jobs';
import { Monitor } from '@ferry/qemu-qmp';
import { ProxyTracerProvider, type Span, SpanKind, type SpanOptions, type Tracer } from '@opentelemetry/api';
import { removeGuard } from './guards.ts';
import { opening, passedFile, type Plan, planFile, type Point, samePoint } from './points.ts';

const dir = process.env['FAULTS_DIR'] ?? '';
const planPath = join(dir, planFile);
const passedPath = join(dir, passedFile);

/** The plan and what has happened under it. */
class Script {
  readonly #plan: Plan;
  readonly #counts = new Map<string, number>();
  readonly #left: Point[];
  #phase: string = opening;

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#left = [...plan.stops];
  }

  phaseBegins(phase: string): void {
    if (this.#plan.phases.includes(phase)) this.#phase = phase;
  }

  /** Gives what its end must be told as. */
  begins(act: string): Point {
    const key = `${this.#phase} ${act}`;
    const nth = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, nth);
    const point = { phase: this.#phase, act, nth, when: 'before' } as const;
    this.pass(point);
    return { ...point, when: 'after' };
  }

  pass(point: Point): void {
    const at = this.#left.findIndex((stop) => samePoint(stop, point));
    if (at >= 0) this.#left.splice(at, 1);
    else if (!this.#plan.record) return;
    appendFileSync(passedPath, `${JSON.stringify({ ...point, stopped: at >= 0 })}\n`);
    // Nothing of this process runs from here until somebody sends SIGCONT.
    if (at >= 0) process.kill(process.pid, 'SIGSTOP');
  }
}

let script: Script | undefined;
let read = '';

/** The script of the plan that is there now. Two microseconds when nothing has changed. */
function current(): Script | undefined {
  const found = statSync(planPath, { throwIfNoEntry: false });
  const version = found === undefined ? '' : `${found.ino} ${found.mtimeMs}`;
  if (version !== read) {
    read = version;
    script = found === undefined ? undefined : new Script(JSON.parse(readFileSync(planPath, 'utf8')) as Plan);
  }
  return script;
}

const ferryCall = /^grpc\.ferry\.v1\.(?:Source|Dest)Agent\/(\w+)$/;
/** They come on timers: which of them is the n-th is nothing that a case could name. */
const notPlanned = /^(redis:((lease|short)-renew|host-register)|(serve|call):(Get|Watch|Abort)Migration)$/;

/** What we call the act that a span is of; undefined for what is none. */
function actOf(name: string, options: SpanOptions | undefined): string | undefined {
  const [kind, word = ''] = name.split(' ');
  if (kind === 'qmp' || kind === 'redis' || kind === 'journal') return `${kind}:${word}`;
  const method = ferryCall.exec(name)?.[1];
  if (method === undefined) return undefined;
  return `${options?.kind === SpanKind.SERVER ? 'serve' : 'call'}:${method}`;
}

/** Notes an act's begin and gives what notes its end. */
function begin(act: string | undefined): (() => void) | undefined {
  if (act === undefined || notPlanned.test(act)) return undefined;
  const under = current();
  const end = under?.begins(act);
  if (end === undefined) return undefined;
  return () => {
    // The plan may be another one by then.
    if (current() === under) under?.pass(end);
  };
}

function watchEnd(span: Span, done: (() => void) | undefined): Span {
  if (done === undefined) return span;
  const { end } = span;
  span.end = (...time) => {
    end.apply(span, time);
    done();
  };
  return span;
}

/** A tracer that tells us of acts and phases. */
function watched(tracer: Tracer): Tracer {
  const begins = (name: string, options: SpanOptions | undefined) => {
    const phase = /^migration\.(.+)$/.exec(name)?.[1];
    if (phase !== undefined) current()?.phaseBegins(phase);
    return begin(actOf(name, options));
  };
  return {
    startSpan: (name, options, context) => {
      const done = begins(name, options);
      return watchEnd(tracer.startSpan(name, options, context), done);
    },
    startActiveSpan: (name: string, ...rest: unknown[]) => {
      const options = typeof rest[0] === 'object' ? (rest[0] as SpanOptions) : undefined;
      const done = begins(name, options);
      const body = rest.pop() as (span: Span) => unknown;
      const start = tracer.startActiveSpan.bind(tracer) as (...all: unknown[]) => unknown;
      return start(name, ...rest, (span: Span) => body(watchEnd(span, done)));
    },
  };
}

/** Every tracer, whenever it was made, comes from here. The API is there twice, for `import` and for `require`. */
function watchTracers(provider: typeof ProxyTracerProvider): void {
  const { getDelegateTracer } = provider.prototype;
  provider.prototype.getDelegateTracer = function (...args) {
    const tracer = getDelegateTracer.apply(this, args);
    return tracer === undefined ? undefined : watched(tracer);
  };
}
const required = createRequire(import.meta.url)('@opentelemetry/api') as {
  ProxyTracerProvider: typeof ProxyTracerProvider;
};
watchTracers(ProxyTracerProvider);
if (required.ProxyTracerProvider !== ProxyTracerProvider) watchTracers(required.ProxyTracerProvider);

// QMP's events are no spans: nobody asked for them.
const { on } = Monitor.prototype;
Monitor.prototype.on = function (name, listener) {
  return on.call(this, name, (event) => {
    const status = 'status' in event.data ? `.${String(event.data.status)}` : '';
    const done = begin(`event:${name}${status}`);
    (listener as (event: unknown) => void)(event);
    done?.();
  });
};

// A phase that is recorded without being run: the end of one, and what recovery decides.
const { migrationJobSetPhase } = MigrationJobs.prototype;
MigrationJobs.prototype.migrationJobSetPhase = function (job, phase, signal) {
  current()?.phaseBegins(phase);
  return migrationJobSetPhase.call(this, job, phase, signal);
};

removeGuard(process.env['FAULTS_GUARD_REMOVED']);
