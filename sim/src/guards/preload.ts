/** Loaded before a test or an agent (`--import`): its code is without the guard that FERRY_GUARD_REMOVED names. */
import { removeFromCode } from './edits.ts';
import { guardNamed } from './list.ts';

const name = process.env['FERRY_GUARD_REMOVED'];
const guard = name === undefined ? undefined : guardNamed(name);
if (guard === undefined) throw new Error(`FERRY_GUARD_REMOVED=${name}: there is no guard of that name`);
removeFromCode(guard.edits);
