/** The swtpm of a guest: started before its QEMU, it ends by itself when that is gone (`--terminate`). */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type Domain, tpmSocket } from '@ferry/domain-xml';
import type { DomainPaths } from './domain-directory.ts';
import { confined } from './confinement.ts';
import { guestEnvironment } from './environment.ts';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';
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
  isConfined: boolean,
  signal: AbortSignal,
): Promise<() => Promise<void>> {
  const socket = tpmSocket(domain, paths.dir);
  const backend = domain.devices.tpm?.backend;
  if (socket === undefined || backend?.type !== 'emulator') return async () => undefined;
  await mkdir(paths.tpmState, { recursive: true, mode: 0o700 });
  const pidFile = `${paths.dir}/swtpm.pid`;
  const args = [
    'socket',
    ...(backend.version === '2.0' ? ['--tpm2'] : []),
    '--ctrl',
    `type=unixio,path=${socket},mode=0600`,
    '--tpmstate',
    `dir=${paths.tpmState},mode=0600`,
    '--log',
    `file=${paths.dir}/swtpm.log`,
    '--pid',
    `file=${pidFile}`,
    '--terminate',
    // It returns once the socket is there.
    '--daemon',
  ];
  try {
    const [program, words] = isConfined ? confined('swtpm', args, []) : ['swtpm', args];
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
