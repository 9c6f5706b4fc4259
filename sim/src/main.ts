/** `./dev simulate`: schedules by the thousand, or one again with all that happens in it. */
import { removeFromCode } from './guards/edits.ts';
import { guardNamed } from './guards/list.ts';
import { installVirtualTime } from './virtual-time.ts';

const argv = process.argv.slice(2);
// Before the agents' code is loaded. A thread has the arguments of the process that made it.
const at = argv.indexOf('--guard-removed');
const removed = at === -1 ? undefined : guardNamed(argv[at + 1] ?? '');
if (removed !== undefined) removeFromCode(removed.edits);
installVirtualTime();
const { simulate } = await import('./simulate.ts');
process.exitCode = await simulate(argv);
