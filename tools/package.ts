/** `./dev package`: a Debian package and a tarball of what `./dev build` makes, with the Node that it was tested with; the same bytes whenever they are made from the same commit. */
import { join, resolve } from 'node:path';
import { packages } from './package/packages.ts';

const root = join(import.meta.dirname, '..');
const [to = join(root, 'packages')] = process.argv.slice(2);
for (const file of await packages(root, resolve(to))) process.stdout.write(`${file}\n`);
