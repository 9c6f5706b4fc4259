import { describe, expect, it } from '@jest/globals';
import { formatSummary, summarize } from './statistics.ts';
import { formatTable } from './table.ts';

describe('summarize', () => {
  it.each([
    { values: [3], median: 3, min: 3, max: 3 },
    { values: [10, 9, 100], median: 10, min: 9, max: 100 },
    { values: [4, 1, 3, 2], median: 2.5, min: 1, max: 4 },
  ])('$values', ({ values, ...summary }) => {
    expect(summarize(values)).toEqual(summary);
  });

  it('has nothing to say of nothing', () => {
    expect(summarize([])).toBeUndefined();
    expect(formatSummary(undefined, 1)).toBe('–');
  });

  it('leaves the values as they were', () => {
    const values = [2, 1];
    summarize(values);
    expect(values).toEqual([2, 1]);
  });
});

describe('formatTable', () => {
  it('aligns words left and figures right', () => {
    const rows = [
      ['', 'whole', 'blackout'],
      ['QEMU alone', formatSummary({ median: 1, min: 0.5, max: 12.25 }, 1)],
    ];
    expect(formatTable(rows)).toBe(
      [
        '                     whole  blackout',
        '────────────────────────────────────',
        'QEMU alone  1.0 (0.5–12.3)',
      ].join('\n'),
    );
  });
});
