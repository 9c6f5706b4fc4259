import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';

it('the generated types are what the QEMU of their version gives', () => {
  const generator = join(import.meta.dirname, '../../../tools/generate-qmp.ts');
  const said = execFileSync(process.execPath, [generator, '--check'], { encoding: 'utf8' });
  expect(said.trim().split('\n')).toHaveLength(2);
});
