import { JobError } from './errors.ts';
import { type JobKind, jobKindOf } from './masks.ts';

/** What Redis keeps of a migration on this host, until 7 days after its end. */
export interface JobRecord {
  readonly kind: JobKind;
  readonly domain: string;
  readonly migrationId: string;
  /** The last phase recorded; "none" before the first. */
  readonly phase: string;
  readonly owner: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | undefined;
  /** How it ended; undefined while it goes on. */
  readonly outcome: string | undefined;
  readonly options: Readonly<Record<string, string>>;
  /** What `migrationJobFinish` was given to keep. */
  readonly record: Readonly<Record<string, string>>;
  /** The phases that have been answered, and can be answered again. */
  readonly replies: readonly string[];
}

/** Decodes a record's hash; undefined if there is none. Throws JobError redis-reply. */
export function decodeRecord(fields: Readonly<Record<string, string>>): JobRecord | undefined {
  if (Object.keys(fields).length === 0) return undefined;
  const finishedAt = fields['finishedAtMs'];
  return {
    kind: jobKindOf(fields['kind']),
    domain: fields['domain'] ?? '',
    migrationId: fields['migration'] ?? '',
    phase: fields['phase'] ?? 'none',
    owner: fields['owner'] ?? '',
    startedAtMs: timeOf('startedAtMs', fields['startedAtMs'] ?? '0'),
    finishedAtMs: finishedAt === undefined ? undefined : timeOf('finishedAtMs', finishedAt),
    outcome: fields['outcome'],
    options: named(fields, 'option:'),
    record: named(fields, 'record:'),
    replies: Object.keys(named(fields, 'reply:')),
  };
}

/** The latest moment that a Date can be, ms since 1970. */
const latestMs = 8.64e15;

function timeOf(name: string, text: string): number {
  if (/^\d{1,16}$/.test(text) && Number(text) <= latestMs) return Number(text);
  throw new JobError('redis-reply', `the record of a job is damaged: ${name} is ${JSON.stringify(text.slice(0, 40))}`);
}

function named(fields: Readonly<Record<string, string>>, prefix: string): Record<string, string> {
  const entries = Object.entries(fields).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length), value]));
}
