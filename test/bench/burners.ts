/** Processes that use all the processor they get: a host that has other work. */
import { spawn } from 'node:child_process';

/** They end when disposed of, and, whatever happens, after ten minutes. */
export function burners(count: number): Disposable {
  const processes = Array.from({ length: count }, () =>
    spawn('timeout', ['600', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore' }),
  );
  for (const each of processes) each.unref();
  return { [Symbol.dispose]: () => processes.forEach((each) => void each.kill()) };
}
