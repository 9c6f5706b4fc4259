import { describe, expect, it } from '@jest/globals';
import { vocabularyTable } from './docs.ts';

describe('the table of elements', () => {
  const rows = vocabularyTable().split('\n');

  it('has a row for what is supported, ignored and refused', () => {
    expect(rows).toContainEqual(expect.stringMatching(/^\| `\/domain\/vcpu` \| supported \| .*`current`\?: 1 to 1024/));
    expect(rows).toContainEqual(expect.stringMatching(/^\| `\/domain\/devices\/hostdev` \| refused \| .+ \|$/));
    expect(rows).toContainEqual(expect.stringMatching(/^\| `\/domain\/@id` \| ignored \| .+ \|$/));
    expect(rows).toContainEqual(
      expect.stringMatching(/^\| `\/domain\/devices\/disk\[@type='file'\]\/source` \| supported, host only \|/),
    );
  });

  it('is a table: every row has three cells', () => {
    for (const row of rows.filter(Boolean)) expect(row.replaceAll('\\|', '').split('|')).toHaveLength(5);
  });
});
