/** Which processes count as gone. Real processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from '@jest/globals';
import { identify, isAlive, isAliveNow, waitGone } from './qemu-process.ts';

/** Its first thread has ended, and is a zombie; another one runs on. */
const program = `
import ctypes, threading, time
def go_on():
    while open('/proc/self/stat').read().rsplit(')', 1)[1].split()[0] != 'Z': time.sleep(0.01)
    print('first thread has ended', flush=True)
    time.sleep(3600)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)
`;

it('a process is alive until its last thread has ended', async () => {
  const child = spawn('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data');
    const found = await identify(child.pid ?? 0);
    if (found === undefined) throw new Error('its first thread has ended, and it counts as gone');
    expect(await isAlive(found)).toBe(true);
    child.kill('SIGKILL');
    await waitGone(found, AbortSignal.timeout(60_000));
    expect([await isAlive(found), isAliveNow(found)]).toEqual([false, false]);
  } finally {
    child.kill('SIGKILL');
  }
});
