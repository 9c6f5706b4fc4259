/** Which CPUs this host's QEMU can give a guest: asked of a short-lived QEMU without a guest, before one is started. */
import { spawn } from 'node:child_process';
import type { Domain } from '@ferry/domain-xml';
import { z } from 'zod';
import type { QemuBinary } from './binary.ts';
import { HypervisorError } from './errors.ts';

type Accelerator = Domain['document']['type'];

/** What QEMU says of its CPUs under one accelerator. */
export interface CpuOffer {
  /** Each model, with the features of its own that a guest would not get. */
  readonly models: ReadonlyMap<string, readonly string[]>;
  /** Every feature that a guest can get, in QEMU's spelling and with its other spellings. */
  readonly features: ReadonlySet<string>;
}

/** What a domain's CPU would lack. */
export interface MissingFeatures {
  /** Asked for by name (`policy='require'`), or the model itself. */
  readonly required: readonly string[];
  /** Of the model. QEMU starts without them and only warns. */
  readonly ofModel: readonly string[];
}

/** As long as QEMU may take to start and to answer; it takes 60 ms. */
const answerMs = 30_000;
/** All of its answers are 50 KiB. */
const answerBytesMax = 4 * 1024 * 1024;

const reply = z.object({ return: z.unknown() });
const definitions = z.array(z.object({ name: z.string(), 'unavailable-features': z.array(z.string()).optional() }));
const expansion = z.object({ model: z.object({ props: z.record(z.string(), z.unknown()) }) });

// `max` has every feature that the accelerator can give (x86_cpu_get_supported_feature_word). With `quit` among the questions, QEMU ends
// by itself even if we are gone.
const questions = [
  { execute: 'qmp_capabilities' },
  { execute: 'query-cpu-definitions' },
  { execute: 'query-cpu-model-expansion', arguments: { type: 'full', model: { name: 'max' } } },
  { execute: 'quit' },
];

/** Asks a QEMU of its own. Throws HypervisorError qemu-start-failed with QEMU's words, for instance when there is no KVM. */
export async function askCpus(binary: QemuBinary, accelerator: Accelerator): Promise<CpuOffer> {
  // A machine with a version: models without one mean another version to each.
  const machine = binary.machineAliases['q35'] ?? 'none';
  const accel = accelerator === 'kvm' ? 'kvm' : 'tcg';
  const options = ['-S', '-nodefaults', '-no-user-config', '-display', 'none', '-machine', machine, '-accel', accel];
  const said = await converse(binary.path, [...options, '-qmp', 'stdio']);
  try {
    const replies = said.out
      .split('\n')
      .filter((line) => line.startsWith('{"return"'))
      .map((line) => reply.parse(JSON.parse(line)).return);
    const [, models, max] = replies;
    const { props } = expansion.parse(max).model;
    return {
      models: new Map(definitions.parse(models).map((one) => [one.name, one['unavailable-features'] ?? []])),
      features: new Set(Object.keys(props).flatMap((name) => (props[name] === true ? [spelled(name)] : []))),
    };
  } catch (cause) {
    const words = said.complaint.trim();
    const message = `the monitor of ${binary.path} does not tell its CPUs under ${accel}: it ${said.end}${words === '' ? '' : `: ${words}`}`;
    throw new HypervisorError('qemu-start-failed', message, { cause });
  }
}

interface Said {
  out: string;
  complaint: string;
  /** How it ended: `ended with status 1`. */
  end: string;
}

async function converse(program: string, options: readonly string[]): Promise<Said> {
  const qemu = spawn(program, options, { stdio: 'pipe', timeout: answerMs, killSignal: 'SIGKILL' });
  const ended = new Promise<string>((resolve) => {
    qemu.once('error', (error) => resolve(`cannot be started (${error.message})`));
    qemu.once('close', (code, by) => resolve(`ended with ${by === null ? `status ${code}` : by}`));
  });
  // One that cannot be started does not read; what came of it is seen by what it did not say.
  qemu.stdin.on('error', () => undefined);
  qemu.stdin.end(questions.map((question) => `${JSON.stringify(question)}\n`).join(''));
  const said = { out: '', complaint: '', end: '' };
  qemu.stdout.on('data', (piece: Buffer) => {
    said.out += piece.toString('latin1');
    if (said.out.length > answerBytesMax) qemu.kill('SIGKILL');
  });
  qemu.stderr.on('data', (piece: Buffer) => {
    said.complaint = `${said.complaint}${piece.toString()}`.slice(-1000);
  });
  said.end = await ended;
  return said;
}

/** libvirt and QEMU spell some features differently (`lahf_lm`, `lahf-lm`; `sse4.1`, `sse4-1`). */
const spelled = (feature: string): string => feature.toLowerCase().replaceAll(/[_.]/g, '-');

/** What the domain's CPU would lack here. */
export function missingFeatures({ document: { cpu } }: Domain, { models, features }: CpuOffer): MissingFeatures {
  if (cpu === undefined) return { required: [], ofModel: [] };
  const wanted = cpu.feature.filter(({ policy }) => policy === 'require' || policy === 'force');
  const unwanted = new Set(
    cpu.feature.filter(({ policy }) => policy === 'disable' || policy === 'forbid').map(({ name }) => spelled(name)),
  );
  const required = wanted.filter(({ name }) => !features.has(spelled(name))).map(({ name }) => name);
  const model = cpu.mode === 'custom' ? cpu.model?.name : undefined;
  if (model === undefined) return { required, ofModel: [] };
  const lacking = models.get(model);
  if (lacking === undefined) return { required: [`the model ${model}`, ...required], ofModel: [] };
  return { required, ofModel: lacking.filter((name) => !unwanted.has(spelled(name)) && !required.includes(name)) };
}
