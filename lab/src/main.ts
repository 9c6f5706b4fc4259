/** `./dev lab up | status | down`: a lab that stays, to play with. */
import { existsSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Client, credentials } from '@grpc/grpc-js';
import { Lab } from './lab.ts';
import { describeLab, type LabFileUp, readLabFile, removeLabFile, writeLabFile } from './lab-file.ts';
import { isRunning, processOf, processesOfLab } from './processes.ts';
import { workspace } from './program.ts';
import { recordedQemus } from './qemus.ts';
import { sweep } from './sweep.ts';
import { untilInterrupted } from './until-interrupted.ts';

// gRPC gives TLS an agent's IP address as server name, of which Node warns on stderr; the certificate's IP address is what is checked.
process.noDeprecation = true;

const usage = `usage: ./dev lab up [--hosts N]   start hosts a, b, … (2 unless told otherwise, 8 at most) and leave them running
       ./dev lab status           what runs; exit status 1 if something does not
       ./dev lab down             end it all; harmless when there is nothing, cleans up after a crash\n`;

const hostsMax = 8;
const answerMs = 3_000;

const print = (text: string): void => void process.stdout.write(text);

async function up(count: number): Promise<number> {
  const file = readLabFile();
  if (file !== undefined && (file.state === 'starting' || processesOfLab(file.dir).length === 0)) {
    print(`cleaning up what is left of the lab in ${file.dir}\n`);
    await down();
  } else if (file?.state === 'up') {
    const same = file.hosts.length === count;
    print(same ? 'the lab is up already\n' : `a lab of ${file.hosts.length} hosts is up: ./dev lab down first\n`);
    return same ? status() : 1;
  }
  const interrupted = untilInterrupted();
  const hosts = Array.from({ length: count }, (_, index) => String.fromCodePoint('a'.charCodeAt(0) + index));
  try {
    const lab = await Lab.start({ hosts, onDirectory: (dir) => writeLabFile({ state: 'starting', dir }) }, interrupted);
    const described = describeLab(lab);
    writeLabFile(described);
    await lab.release();
    print(introduction(described));
    return 0;
  } catch (error) {
    removeLabFile();
    if (!interrupted.aborted || error !== interrupted.reason) throw error;
    print('interrupted; nothing is left\n');
    return 130;
  }
}

async function status(): Promise<number> {
  const file = readLabFile();
  if (file === undefined) {
    print('no lab is up: ./dev lab up\n');
    return 1;
  }
  if (file.state === 'starting') {
    print(`a lab is being started, or its start was killed (${file.dir}): ./dev lab down cleans up\n`);
    return 1;
  }
  const rows = await Promise.all(
    file.hosts.flatMap(({ name, agents }) => [
      agentRow(file, name, 'source', agents.source),
      agentRow(file, name, 'dest', agents.dest),
    ]),
  );
  const redis = processOf(file.redis.pid) !== undefined;
  const qemus = recordedQemus(file.dir).filter(isRunning);
  print(rows.map(({ text }) => text).join(''));
  print(`Redis      ${redis ? 'runs' : 'does not run'}      ${file.redis.url}\n`);
  print(
    `QEMUs      ${qemus.length === 0 ? 'none' : qemus.map(({ host, pid }) => `pid ${pid} on ${host}`).join(', ')}\n`,
  );
  print(`files      ${file.dir}\n`);
  return redis && rows.every(({ good }) => good) ? 0 : 1;
}

async function agentRow(
  file: LabFileUp,
  host: string,
  side: string,
  { address, pid }: { address: string; pid: number },
) {
  const running = processOf(pid) !== undefined;
  const serving = running && (await answers(address, file.tls));
  const state = serving ? 'serves' : running ? 'does not answer' : 'does not run';
  return { good: serving, text: `${host} ${side.padEnd(8)} ${state.padEnd(15)} ${address.padEnd(15)} pid ${pid}\n` };
}

/** Whether an agent at that address shows a certificate of the lab's and takes ours. */
function answers(address: string, tls: LabFileUp['tls']): Promise<boolean> {
  if (!existsSync(tls.key)) return Promise.resolve(false);
  const client = new Client(
    address,
    credentials.createSsl(readFileSync(tls.ca), readFileSync(tls.key), readFileSync(tls.cert)),
  );
  return new Promise((resolve) => {
    client.waitForReady(Date.now() + answerMs, (error) => {
      client.close();
      resolve(error === undefined);
    });
  });
}

async function down(): Promise<number> {
  const file = readLabFile();
  if (file === undefined) {
    print('no lab is up\n');
    return 0;
  }
  await sweep(file.dir);
  removeLabFile();
  print('the lab is gone\n');
  return 0;
}

function introduction({ hosts, tls, dir }: LabFileUp): string {
  const lines = hosts.map(
    ({ name, source, dest }) => `  host ${name}   source agent ${source}   destination agent ${dest}`,
  );
  const [first] = hosts;
  const [last] = hosts.slice(-1);
  const buf = `${relative(process.cwd(), workspace) || '.'}/node_modules/.bin/buf`;
  return `The lab is up; its files and logs are in ${dir}.

${lines.join('\n')}

Something to move, and moving it:
  ./dev ferry guest web-1 > guest.xml
  ./dev ferry start guest.xml --host ${first?.name ?? 'a'}
  ./dev ferry migrate web-1 --from ${first?.name ?? 'a'} --to ${last?.name ?? 'b'}
  tail -f ${dir}/web-1.console

Or with a client that is not ours (reflection tells it the schema):
  ${buf} curl --protocol grpc --cacert ${tls.ca} --cert ${tls.cert} --key ${tls.key} -d '{}' https://${first?.source ?? ''}/ferry.v1.Domains/List

./dev lab down ends it all.
`;
}

async function run(argv: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: { hosts: { type: 'string' }, help: { type: 'boolean' } },
    allowPositionals: true,
  });
  const [command, ...more] = positionals;
  const count = Number(values.hosts ?? '2');
  const known = more.length === 0 && Number.isInteger(count) && count >= 1 && count <= hostsMax;
  if (values.help === true) print(usage);
  else if (known && command === 'up') return up(count);
  else if (known && command === 'status') return status();
  else if (known && command === 'down') return down();
  else process.stderr.write(usage);
  return values.help === true ? 0 : 2;
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`lab: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof TypeError && 'code' in error ? 2 : 1;
}
process.stdout.write('', () => process.exit());
