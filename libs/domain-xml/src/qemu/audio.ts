import type { Audio } from '../vocabulary/audio.ts';
import { json, type JsonObject } from './json.ts';

/** QEMU's names where they differ from libvirt's. */
const drivers: Readonly<Partial<Record<Audio['type'], string>>> = { file: 'wav', pulseaudio: 'pa' };
const options = {
  timerPeriod: 'timer-period',
  tryMMap: 'try-mmap',
  exclusive: 'exclusive',
  dspPolicy: 'dsp-policy',
  path: 'path',
  serverName: 'server',
} as const;
const streamOptions = {
  mixingEngine: 'mixing-engine',
  fixedSettings: 'fixed-settings',
  voices: 'voices',
  bufferLength: 'buffer-length',
  bufferCount: 'buffer-count',
  dev: 'dev',
  tryPoll: 'try-poll',
  serverName: 'server-name',
  clientName: 'client-name',
  connectPorts: 'connect-ports',
  exactName: 'exact-name',
  name: 'name',
  streamName: 'stream-name',
  latency: 'latency',
} as const;

type Value = string | number | boolean;
type Stream = NonNullable<Audio['input']>;

/** Where the guest's sound goes (qemuBuildAudioCommandLineArg). */
export function audioArguments(audio: Audio): string[] {
  return [
    '-audiodev',
    json({
      id: `audio${audio.id}`,
      driver: drivers[audio.type] ?? audio.type,
      ...renamed(audio, options),
      in: audio.input && streamOf(audio.input),
      out: audio.output && streamOf(audio.output),
    }),
  ];
}

const streamOf = (stream: Stream): JsonObject => ({ ...renamed(stream, streamOptions), ...stream.settings });

function renamed(from: object, names: Readonly<Record<string, string>>): JsonObject {
  const given = Object.entries(from) as readonly (readonly [string, Value])[];
  return Object.fromEntries(
    given.flatMap(([key, value]) => (names[key] === undefined ? [] : [[names[key], value] as const])),
  );
}
