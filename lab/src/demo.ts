/** `./dev demo`: a guest moves from one host to another while it runs. Everything here is real; nothing is left afterwards. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import { buildGuest, guestConfig, guestXml, verifyTicks } from '@ferry/guest';
import type { MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { call } from '@ferry/rpc';
import { Lab } from './lab.ts';
import { describeLab } from './lab-file.ts';
import { workspace } from './program.ts';
import { TickTail } from './tick-tail.ts';
import { untilInterrupted } from './until-interrupted.ts';

// gRPC gives TLS an agent's IP address as server name, of which Node warns on stderr; the certificate's IP address is what is checked.
process.noDeprecation = true;

const memoryMiB = 256;
const [dirtyMiB, rateMiB] = [64, 20];
const work = { dirty: `${dirtyMiB}M`, rate: `${rateMiB}M`, tickMs: 10 };
/** Slow enough that memory can be seen flowing: the same network at full speed would be done before you look. */
const limits = ['--bandwidth', '64M', '--downtime', '50ms'];
/** How many lines the guest writes before it moves, and at least after it has. */
const ticksBefore = 50;
const ticksAfter = 50;
const demoMs = 90_000;
const goodbyeMs = 3_000;
const showCursor = '\u001B[?25h';

const print = (text = ''): void => void process.stdout.write(`${text}\n`);
const dim = (text: string): string => styleText('dim', text);

const started = performance.now();
function heading(text: string): void {
  const elapsed = `${((performance.now() - started) / 1000).toFixed(1)} s`;
  print(`\n${styleText('bold', text.padEnd(64))}${dim(elapsed.padStart(8))}`);
}

/** Runs `ferry` on the lab as a person would, with our terminal. Throws if it fails. */
async function ferry(lab: Lab, hostsFile: string, args: readonly string[], interrupted: AbortSignal): Promise<void> {
  interrupted.throwIfAborted();
  print(`${dim('$')} ferry ${args.join(' ')}`);
  const program = join(workspace, 'services', 'cli', 'src', 'main.ts');
  // FERRY_LAB: should we die, it is found and ended with everything else of the lab.
  const env = { ...process.env, FERRY_HOSTS: hostsFile, FERRY_LAB: lab.dir };
  const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit', env });
  // A Ctrl-C has reached it by itself; a SIGTERM to us has not.
  const end = () => child.kill('SIGTERM');
  interrupted.addEventListener('abort', end, { once: true });
  const exited = once(child, 'exit');
  await Promise.race([exited, once(interrupted, 'abort')]);
  interrupted.removeEventListener('abort', end);
  if (interrupted.aborted) {
    // It asks for the migration to be given up, and puts the terminal in order; if that takes long, it ends with the lab.
    await Promise.race([exited, delay(goodbyeMs)]);
    if (process.stdout.isTTY) process.stdout.write(showCursor);
    throw interrupted.reason;
  }
  if (child.exitCode !== 0) throw new Error(`ferry ${args[0] ?? ''} ended with status ${child.exitCode ?? 'none'}`);
}

async function demo(interrupted: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(demoMs)]);
  print(styleText('bold', 'Ferry: a guest moves from host a to host b while it runs'));

  heading('1  Two hosts on this machine');
  await using lab = await Lab.start({}, signal);
  const hostsFile = join(lab.dir, 'hosts.json');
  await writeFile(hostsFile, JSON.stringify(describeLab(lab)));
  for (const { name, sourceAddress, destAddress } of Object.values(lab.hosts)) {
    print(`   host ${name}   source agent ${sourceAddress}   destination agent ${destAddress}`);
  }
  print('   one Redis, and certificates of their own: every call shows one');

  heading('2  A guest on host a');
  const rom = await buildGuest(signal);
  const consolePath = join(lab.files, 'demo.console');
  const serial = { type: 'file', path: consolePath } as const;
  await writeFile(join(lab.dir, 'demo.xml'), guestXml({ name: 'demo', memoryMiB, ...work, serial, rom }));
  await using ticks = await TickTail.open(consolePath);
  await ferry(lab, hostsFile, ['start', join(lab.dir, 'demo.xml'), '--host', 'a'], interrupted);
  await ticks.until(ticksBefore, signal);
  print(`   ${memoryMiB} MiB, of which it overwrites ${dirtyMiB} MiB again and again, ${rateMiB} MiB a second;`);
  print(`   every ${work.tickMs} ms it writes a line with a checksum of what it found in its memory:`);
  print(`   ${dim(`a │ ${ticks.line(ticksBefore) ?? ''}`)}`);

  heading('3  It moves');
  const migrationId = randomUUID();
  await ferry(
    lab,
    hostsFile,
    ['migrate', 'demo', '--from', 'a', '--to', 'b', ...limits, '--id', migrationId],
    interrupted,
  );
  await ticks.until(ticks.arrivals.length + ticksAfter, signal);

  heading('4  What the guest says');
  const names = { migrationId, domain: 'demo' };
  const { migration } = await call(lab.host('a').clients.source, SourceAgentService.getMigration, names, signal);
  showTicks(ticks, migration?.statistics);

  heading('5  Who has it now');
  await ferry(lab, hostsFile, ['where', 'demo'], interrupted);
  for (const { host, pid } of lab.qemus()) print(`   the only QEMU left is on host ${host}, pid ${pid}`);
}

/** The line before and the line after the switchover, and what all lines together prove. */
function showTicks(ticks: TickTail, statistics: MigrationStatistics | undefined): void {
  const resumedAtUs = Number(statistics?.resumedAtUs ?? 0n);
  const last = ticks.arrivals.findLast(({ atUs }) => atUs < resumedAtUs)?.tick ?? 0;
  for (const tick of [last - 1, last]) print(`   a │ ${ticks.line(tick) ?? ''}`);
  for (const tick of [last + 1, last + 2]) print(`   b │ ${ticks.line(tick) ?? ''}`);
  const report = verifyTicks(ticks.output, guestConfig(work));
  if (!report.intact) throw new Error(`the guest's output is not intact:\n${report.problems.join('\n')}`);
  print(`   ${report.ticks} lines, none missing, none twice, every checksum right: its memory arrived intact.`);
  const [before, after] = [last, last + 1].map((tick) => ticks.arrivals.find((arrival) => arrival.tick === tick));
  if (before === undefined || after === undefined) return;
  const gap = ((after.atUs - before.atUs) / 1000).toFixed(0);
  print(
    `   ${gap} ms between the last line on a and the first on b, where ${work.tickMs} ms is normal: the blackout as its user sees it.`,
  );
}

const interrupted = untilInterrupted();
try {
  await demo(interrupted);
  heading('Everything is cleaned up');
  print('\nNext:');
  print('   ./dev lab up         the same two hosts, left running to play with; says how');
  print('   ./dev ferry --help   what can be done with them');
} catch (error) {
  // Anything else, a failure of the cleaning up too, is told.
  const asked = interrupted.aborted && error === interrupted.reason;
  if (asked) print('\ninterrupted; everything is cleaned up');
  else process.stderr.write(`\ndemo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = asked ? 130 : 1;
}
process.stdout.write('', () => process.exit());
