import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { edited } from './edits.ts';
import { guards } from './list.ts';

const root = join(import.meta.dirname, '../../..');
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('the list of guards', () => {
  it('has each once, and each is where it is said to be', () => {
    const names = guards.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { edits } of guards)
      for (const edit of edits)
        expect(edited(join(root, edit.file), textOf(edit.file), [edit])).not.toBe(textOf(edit.file));
  });

  it('names tests that are there', () => {
    for (const { shownBy } of guards) if (shownBy.by === 'test') expect(textOf(shownBy.file)).toContain(shownBy.test);
  });
});
