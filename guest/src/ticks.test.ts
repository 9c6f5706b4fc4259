import { describe, expect, it } from '@jest/globals';
import { array, assert, constantFrom, integer, nat, pre, property, string } from 'fast-check';
import { guestConfig } from './config.ts';
import { GuestModel } from './model.ts';
import { tickBlackout, TickReader, verifyTicks } from './ticks.ts';

const config = guestConfig({ dirty: '256K', rate: '1M', tickMs: 7, sweepMs: 300, seed: 3 });

/** The output of an intact guest: its header, then ticks from 1 on. */
function outputOf(ticks: number): string[] {
  const model = new GuestModel(config);
  return [model.header, ...Array.from({ length: ticks }, () => model.next())];
}
const joined = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');
const lines = outputOf(200);

describe('verifyTicks', () => {
  it('finds nothing wrong with an intact guest, wherever its output is cut', () => {
    const output = joined(lines);
    assert(
      property(nat(output.length), nat(output.length), (a, b) => {
        const part = output.slice(Math.min(a, b), Math.max(a, b));
        const report = verifyTicks(part, config);
        expect({ ...report, intact: undefined }).toMatchObject({
          gaps: 0,
          repeats: 0,
          bad: 0,
          checksumsOk: true,
          problems: [],
        });
        expect(report.intact).toBe(report.ticks > 0);
      }),
    );
    expect(verifyTicks(output, config)).toMatchObject({ ticks: 200, firstTick: 1, lastTick: 200, intact: true });
  });

  it('notices each line that is lost', () => {
    assert(
      property(integer({ min: 2, max: 199 }), (tick) => {
        const report = verifyTicks(joined(lines.toSpliced(tick, 1)), config);
        expect(report).toMatchObject({ gaps: 1, repeats: 0, checksumsOk: true, intact: false });
        expect(report.problems).toEqual([`line ${tick + 1}: tick ${tick + 1} after tick ${tick - 1}`]);
      }),
    );
  });

  it('notices a guest that ran twice or went back in time', () => {
    const twice = verifyTicks(joined([...lines.slice(0, 101), ...lines.slice(91)]), config);
    expect(twice).toMatchObject({ gaps: 0, repeats: 10, intact: false, ticks: 210 });
    const restarted = verifyTicks(joined([...lines, ...lines]), config);
    expect(restarted).toMatchObject({ repeats: 200, intact: false });
    expect(restarted.problems[0]).toBe(`line 202: ${lines[0]}`);
  });

  it('notices any change of any character', () => {
    const output = joined(lines);
    assert(
      property(nat(output.length - 2), constantFrom(...Array.from('0123456789abcdef TX\n')), (at, char) => {
        pre(output[at] !== char);
        // The first line may be the rest of one whose beginning nobody heard.
        pre(at > (lines[0] ?? '').length);
        expect(verifyTicks(output.slice(0, at) + char + output.slice(at + 1), config).intact).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('holds a guest to its own configuration', () => {
    for (const other of [{ seed: 4 }, { dirty: '128K' }, { rate: '2M' }, { sweepMs: 200 }]) {
      const report = verifyTicks(
        joined(lines),
        guestConfig({ dirty: '256K', rate: '1M', tickMs: 7, sweepMs: 300, seed: 3, ...other }),
      );
      expect(report).toMatchObject({ checksumsOk: false, intact: false });
    }
  });

  it('counts the pages that the guest found wrong', () => {
    const bad = 'BAD 00000100 00000012 05 0badc0de 00000000';
    const after = lines.slice(101).map((line) => line.replace(/0000$/, '0001'));
    const report = verifyTicks(joined([...lines.slice(0, 101), bad, ...after]), config);
    expect(report).toMatchObject({ bad: 1, checksumsOk: false, intact: false, gaps: 0, repeats: 0 });
    expect(report.problems[0]).toBe(`line 102: ${bad}`);
  });

  it('has no trouble with what no guest says', () => {
    assert(
      property(string({ unit: 'binary' }), (noise) => {
        expect(verifyTicks(`${noise}\n\n`, config).intact).toBe(false);
      }),
    );
    expect(verifyTicks('', config)).toMatchObject({ ticks: 0, firstTick: undefined, intact: false });
    expect(verifyTicks('\nT 99999999 00000000 000000 0000\n', config)).toMatchObject({ ticks: 0, intact: false });
    expect(verifyTicks('ERR dirty does not fit\n', config).problems).toEqual(['line 1: ERR dirty does not fit']);
  });
});

describe('TickReader and tickBlackout', () => {
  it('put together lines that come in pieces, on whichever side', () => {
    const output = joined(lines);
    assert(
      property(array(nat(output.length), { maxLength: 20 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), output.length];
        const reader = new TickReader();
        const arrivals = at.slice(1).flatMap((end, index) => reader.take(output.slice(at[index], end), index));
        expect(arrivals.map(({ tick }) => tick)).toEqual(lines.slice(1).map((_, index) => index + 1));
      }),
    );
  });

  it('measure the longest time between two ticks', () => {
    const arrivals = [
      { tick: 4, atUs: 8500 },
      { tick: 1, atUs: 1000 },
      { tick: 2, atUs: 2000 },
      { tick: 3, atUs: 7500 },
    ];
    expect(tickBlackout(arrivals)).toEqual({ gapUs: 5500, afterTick: 2 });
    expect(tickBlackout(arrivals.slice(0, 1))).toBeUndefined();
  });
});
