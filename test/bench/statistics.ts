/** What several rounds say together. */

/** A figure over several rounds. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Median and range; undefined without values. Of an even number of values the median is the mean of the two in the middle. */
export function summarize(values: readonly number[]): Summary | undefined {
  const ordered = values.toSorted((a, b) => a - b);
  const [min, max] = [ordered[0], ordered.at(-1)];
  const [lower, upper] = [ordered[Math.ceil(ordered.length / 2) - 1], ordered[Math.floor(ordered.length / 2)]];
  if (min === undefined || max === undefined || lower === undefined || upper === undefined) return undefined;
  return { median: (lower + upper) / 2, min, max };
}

/** `12.3 (11.0–15.2)`; a dash for what was not measured. */
export function formatSummary(summary: Summary | undefined, digits: number): string {
  if (summary === undefined) return '–';
  const [median, min, max] = [summary.median, summary.min, summary.max].map((value) => value.toFixed(digits));
  return `${median} (${min}–${max})`;
}
