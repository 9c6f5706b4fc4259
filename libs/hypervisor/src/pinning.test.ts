import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from '@jest/globals';
import { placeThreads } from './pinning.ts';

const nothing = { emulator: undefined, vcpus: [], iothreads: [] };

it('puts a process into the class that is asked for, and says what is missing where it cannot', async () => {
  const sleeping = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    await once(sleeping, 'spawn');
    const pid = sleeping.pid ?? 0;
    await placeThreads(pid, { ...nothing, emulatorScheduling: { scheduler: 'batch' } }, 'web-1');
    expect(execFileSync('chrt', ['--pid', String(pid)], { encoding: 'utf8' })).toContain('SCHED_BATCH');
    const vcpus = [{ id: 0, cpus: undefined, scheduling: { scheduler: 'idle' } as const }];
    await expect(placeThreads(pid, { ...nothing, vcpus }, 'web-1')).rejects.toThrow(
      /thread CPU 0\/ of domain web-1 cannot be scheduled as idle on this host: .*CAP_SYS_NICE/,
    );
  } finally {
    sleeping.kill('SIGKILL');
  }
});
