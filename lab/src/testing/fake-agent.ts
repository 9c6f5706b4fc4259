/**
 * Stands in for an agent in the lab's own tests: serves nothing, says that it does. With FAKE=qemu it launches a real QEMU just after
 * it has been told to end, without recording it; with FAKE=recorded one that its state directory records; FAKE=fails: it does not start.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { processOf } from '../processes.ts';

const {
  FAKE: behaviour,
  FERRY_LISTEN: listen = '',
  FERRY_STATE_DIR: stateDir = '',
  FERRY_HOST: host = '',
} = process.env;
const domain = join(stateDir, 'domains', '11111111-2222-4333-8444-555555555555');

/** As an agent does it: detached, with an environment of its own, so that only its command line shows whose it is. */
function launchQemu(): number {
  mkdirSync(domain, { recursive: true });
  const monitor = `unix:${join(domain, 'source.sock')},server=on,wait=off`;
  const args = ['-S', '-nodefaults', '-display', 'none', '-machine', 'none', '-qmp', monitor];
  const child = spawn('qemu-system-x86_64', args, {
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env['PATH'] },
  });
  child.unref();
  return child.pid ?? 0;
}

if (behaviour === 'fails') {
  process.stdout.write(`${JSON.stringify({ level: 60, msg: `no such thing on ${host}` })}\n`);
  process.exit(1);
}
if (behaviour === 'recorded') {
  const pid = launchQemu();
  writeFileSync(join(domain, 'qemu.json'), JSON.stringify(processOf(pid)));
}
process.on('SIGTERM', () => {
  if (behaviour === 'qemu') launchQemu();
  process.exit(0);
});

const server = createServer();
const [address, port] = listen.split(':');
server.listen(Number(port), address, () =>
  process.stdout.write(`${JSON.stringify({ msg: 'serving', address: listen })}\n`),
);
