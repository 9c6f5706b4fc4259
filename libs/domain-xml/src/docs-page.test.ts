import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';

it('docs/domain-xml.md is what the code gives', () => {
  const generator = join(import.meta.dirname, '../../../tools/generate-domain-xml-docs.ts');
  const { status, stderr } = spawnSync(process.execPath, [generator, '--check'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
