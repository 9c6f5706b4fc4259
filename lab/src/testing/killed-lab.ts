/** A process that makes a lab and is to be killed at some moment: prints the directory first, then `up`, and waits. */
import { setTimeout as delay } from 'node:timers/promises';
import { Lab } from '../lab.ts';
import { fakeAgent } from './fake-command.ts';

const onDirectory = (dir: string) => void process.stdout.write(`${dir}\n`);
await Lab.start({ command: fakeAgent, env: { FAKE: process.env['FAKE'] ?? '' }, onDirectory });
process.stdout.write('up\n');
await delay(600_000);
