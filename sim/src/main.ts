/** `./dev simulate`: schedules by the thousand, or one again with all that happens in it. */
import { installVirtualTime } from './virtual-time.ts';

installVirtualTime();
const { simulate } = await import('./simulate.ts');
process.exitCode = await simulate(process.argv.slice(2));
