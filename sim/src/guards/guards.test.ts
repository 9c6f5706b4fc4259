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

  it('has each guard and each assumption of the models', () => {
    const check = textOf('spec/check.sh');
    const [, body = ''] = /guards_of\(\) \{\n(.*?)\n\}/s.exec(check) ?? [];
    // Post-copy is a model of what there is no code of.
    const [models = ''] = body.split('postcopy)');
    const named = [...models.matchAll(/\b[A-Z]+(?:_[A-Z]+)+\b/g)].map(([name]) => name);
    expect(named.length).toBeGreaterThan(35);
    const listed = guards.map(({ name }) => name);
    expect(named.filter((name) => !listed.includes(name))).toEqual([]);
  });

  it('names tests that are there', () => {
    for (const { shownBy } of guards) if (shownBy.by === 'test') expect(textOf(shownBy.file)).toContain(shownBy.test);
  });
});
