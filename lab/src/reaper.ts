/**
 * Watches over a lab: when the process that made it is gone, however that went, ends what it left. Started with the lab's directory as
 * argument and a pipe as stdin, which the kernel closes when the maker ends; one byte on it means that the lab shall stay.
 */
import { sweep } from './sweep.ts';

const [dir] = process.argv.slice(2);
if (dir === undefined) throw new Error('usage: reaper.ts DIR');

// In a session of its own, no Ctrl-C reaches it; a whole group or container that is told to end does not take it away early either.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

let released = false;
process.stdin.on('data', () => {
  released = true;
});
process.stdin.on('error', () => undefined);
process.stdin.once('close', () => {
  if (!released) sweep(dir).catch(() => process.exit(1));
});
process.stdin.resume();
