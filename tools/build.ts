/** `./dev build`: the programs as users run them, in dist/. */
import { join, resolve } from 'node:path';
import { bundle, stampOf } from './build/bundle.ts';

const root = join(import.meta.dirname, '..');
const [to = join(root, 'dist')] = process.argv.slice(2);
await bundle(root, resolve(to), stampOf(root));
