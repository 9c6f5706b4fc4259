/**
 * Records what the table of metrics lists. Where something is measured a record is noted and nothing else is done; it is added to its instrument later,
 * and gauges are read when they are exported: never while a guest of this agent stands still.
 */
import { type Attributes, type BatchObservableResult, type Meter, type ObservableGauge } from '@opentelemetry/api';
import { type Labels, type MeasuredKey, type MetricKey, metricTable, type ObservedKey } from './metrics-table.ts';

/** Records that wait; what comes when so many do is counted at once. */
const pendingMax = 4_096;
/** A record waits for company, ms. */
const addAfterMs = 100;
/** What is read for an export may take so long; without an answer the metric is missing from it, ms. */
const readMsMax = 1_000;

/** One value of a gauge. */
export interface Reading<K extends ObservedKey> {
  readonly value: number;
  readonly labels?: Labels<K>;
}

/** The values of some gauges. */
export type Readings = { readonly [K in ObservedKey]?: readonly Reading<K>[] };

type Read = () => Readings | Promise<Readings>;

interface Pending {
  readonly key: MeasuredKey;
  readonly value: number;
  readonly labels: Attributes;
}

type Add = (value: number, labels: Attributes) => void;

class Recorder {
  readonly #adds: Readonly<Record<MeasuredKey, Add>>;
  readonly #pending: Pending[] = [];
  #adding = false;

  constructor(meter: Meter) {
    const adds: Partial<Record<MetricKey, Add>> = {};
    const observed: [ObservedKey, ObservableGauge][] = [];
    for (const [key, row] of rows) {
      const options = { description: row.help, unit: row.unit };
      if (row.kind === 'histogram') {
        const histogram = meter.createHistogram(row.name, {
          ...options,
          advice: { explicitBucketBoundaries: [...row.buckets] },
        });
        adds[key] = (value, labels) => histogram.record(value, labels);
      } else if (key === 'processCpu') observed.push([key, meter.createObservableCounter(row.name, options)]);
      else if (isObserved(key)) observed.push([key, meter.createObservableGauge(row.name, options)]);
      else {
        const counter = meter.createCounter(row.name, options);
        adds[key] = (value, labels) => counter.add(value, labels);
      }
    }
    this.#adds = adds as Record<MeasuredKey, Add>;
    const gauges = new Map(observed);
    meter.addBatchObservableCallback(
      (result) => this.#export(result, gauges),
      observed.map(([, gauge]) => gauge),
    );
  }

  note(key: MeasuredKey, value: number, labels: Attributes): void {
    this.#pending.push({ key, value, labels });
    if (this.#pending.length >= pendingMax) this.#addAll();
    if (this.#adding) return;
    this.#adding = true;
    setTimeout(() => {
      this.#adding = false;
      whenQuiet(() => this.#addAll());
    }, addAfterMs).unref();
  }

  #addAll(): void {
    for (const { key, value, labels } of this.#pending.splice(0)) this.#adds[key](value, labels);
  }

  async #export(result: BatchObservableResult, gauges: ReadonlyMap<ObservedKey, ObservableGauge>): Promise<void> {
    await new Promise<void>((resolve) => whenQuiet(resolve));
    this.#addAll();
    const late = AbortSignal.timeout(readMsMax);
    const given = await Promise.all([...reads].map((read) => unlessLate(read, late)));
    for (const readings of given) {
      for (const [key, gauge] of gauges) {
        for (const { value, labels } of readings[key] ?? []) result.observe(gauge, value, { ...labels });
      }
    }
  }
}

type Row = (typeof metricTable)[MetricKey];
const rows = Object.entries(metricTable) as [MetricKey, Row][];

const isObserved = (key: MetricKey): key is ObservedKey => key === 'processCpu' || metricTable[key].kind === 'gauge';

/** What cannot be read now is missing from an export, and keeps nothing else from it. */
async function unlessLate(read: Read, late: AbortSignal): Promise<Readings> {
  const { promise, resolve } = Promise.withResolvers<Readings>();
  const giveUp = (): void => resolve({});
  late.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([Promise.resolve().then(read), promise]);
  } catch {
    return {};
  } finally {
    late.removeEventListener('abort', giveUp);
  }
}

let recorder: Recorder | undefined;
const reads = new Set<Read>();
let whenQuiet: (run: () => void) => void = (run) => run();

/** From now on what is measured is recorded. */
export function startRecording(meter: Meter): void {
  recorder = new Recorder(meter);
}

/** Has records added, and gauges read, only when `gate` says so. */
export function recordWhen(gate: (run: () => void) => void): void {
  whenQuiet = gate;
}

/** Adds to a counter or a histogram, in its unit. Free where no metrics are exported. */
export function measure<K extends MeasuredKey>(key: K, value: number, labels: Labels<K>): void {
  recorder?.note(key, value, labels);
}

/** Has gauges read by that whenever they are exported, until disposed of. */
export function observe(read: Read): Disposable {
  reads.add(read);
  return { [Symbol.dispose]: () => void reads.delete(read) };
}
