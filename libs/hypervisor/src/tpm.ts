/** The swtpm of a guest: started before its QEMU, it ends by itself when that is gone (`--terminate`). */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { type Domain, tpmSocket } from '@ferry/domain-xml';
import type { DomainPaths } from './domain-directory.ts';
import { confine, type Confinement } from './confinement.ts';
import { guestEnvironment } from './environment.ts';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';
import { makeOwn, makePassage } from './qemu-user.ts';
import { processOfPidFile, send, waitGone } from './qemu-process.ts';

const run = promisify(execFile);
/** It answers at once; the first time it makes keys, which takes seconds. */
const startMs = 30_000;
/** It has nothing to write back; a busy host takes a moment to end it. */
const killMs = 5_000;

/**
 * Starts the swtpm that a domain asks for; gives what ends it, for a start that fails later. Its state outlives the run of the guest; one
 * that comes from another host brings its own along. Throws HypervisorError qemu-start-failed.
 */
export async function startTpm(
  domain: Domain,
  paths: DomainPaths,
  confinement: Confinement,
  signal: AbortSignal,
): Promise<() => Promise<void>> {
  const socket = tpmSocket(domain, paths.run);
  const backend = domain.devices.tpm?.backend;
  if (socket === undefined || backend?.type !== 'emulator') return async () => undefined;
  const { user } = confinement;
  if (user === undefined) await mkdir(paths.tpmState, { recursive: true, mode: 0o700 });
  else {
    await makePassage(dirname(paths.tpmState));
    await makeOwn(paths.tpmState, user);
  }
  const pidFile = `${paths.run}/swtpm.pid`;
  const args = [
    'socket',
    ...(backend.version === '2.0' ? ['--tpm2'] : []),
    '--ctrl',
    `type=unixio,path=${socket},mode=0600`,
    '--tpmstate',
    `dir=${paths.tpmState},mode=0600`,
    '--log',
    `file=${paths.run}/swtpm.log`,
    '--pid',
    `file=${pidFile}`,
    '--terminate',
    // It returns once the socket is there.
    '--daemon',
  ];
  try {
    const [program, words] = confine('swtpm', args, [], confinement);
    await run(program, words, { signal, timeout: startMs, cwd: '/', env: guestEnvironment() });
  } catch (cause) {
    signal.throwIfAborted();
    const why = errnoOf(cause) === 'ENOENT' ? 'this host has no swtpm: install it' : String(cause);
    throw new HypervisorError('qemu-start-failed', `the TPM of domain ${domain.name} does not start: ${why}`, {
      cause,
    });
  }
  return async () => {
    // It takes its pid file away when it ends, which it does when QEMU is gone.
    const process = await processOfPidFile(pidFile, ['--pid', `file=${pidFile}`]).catch(() => undefined);
    if (process === undefined) return;
    await send(process, 'SIGKILL');
    await waitGone(process, AbortSignal.timeout(killMs)).catch(() => undefined);
  };
}
