import type { Fields, Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf, path, printable } from '../codec/scalar.ts';
import { yesNo } from './common.ts';

const id = attribute(integer(1, 255));
const many = integer(1, 2 ** 31 - 1);
const number = optionalAttribute(many);
const words = optionalAttribute(printable);
const yes = optionalAttribute(yesNo);

const settings = optionalChild(
  element({
    frequency: number,
    channels: optionalAttribute(integer(1, 255)),
    format: optionalAttribute(oneOf('s8', 'u8', 's16', 'u16', 's32', 'u32', 'f32')),
  }),
);
const stream = <F extends Fields>(own: F) =>
  optionalChild(
    element({ mixingEngine: yes, fixedSettings: yes, voices: number, bufferLength: number, ...own, settings }),
  );
const streams = <F extends Fields>(own: F) => ({ input: stream(own), output: stream(own) });
const common = { id, timerPeriod: number };
const server = { name: words, streamName: words, latency: number };
const environment = 'QEMU takes it from its environment, which no document may change';

/** Where the sound goes; only some QEMUs have each. */
export const audio = choice(
  'type',
  {
    none: element({ ...common, ...streams({}) }),
    spice: element({ ...common, ...streams({}) }),
    alsa: element({ ...common, ...streams({ dev: words }) }),
    file: element({ ...common, path: attribute(path), ...streams({}) }),
    jack: element({
      ...common,
      ...streams({ serverName: words, clientName: words, connectPorts: words, exactName: yes }),
    }),
    oss: element({
      ...common,
      tryMMap: yes,
      exclusive: yes,
      dspPolicy: optionalAttribute(integer(-1, 100)),
      ...streams({ dev: words, bufferCount: number, tryPoll: yes }),
    }),
    pulseaudio: element({ ...common, serverName: words, ...streams(server) }),
    pipewire: element({ ...common, ...streams(server) }, { refused: { '@runtimeDir': environment } }),
    sdl: element({ ...common, ...streams({ bufferCount: number }) }, { refused: { '@driver': environment } }),
  },
  { refused: { coreaudio: 'It belongs to macOS', dbus: 'QEMU here has no D-Bus display' } },
);

/** Which of them a device plays to. */
export const audioReference = optionalChild(element({ id }));

export type Audio = Of<typeof audio>;
