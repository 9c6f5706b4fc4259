import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, child, hostSide, optionalAttribute } from '../codec/fields.ts';
import { oneOf, path } from '../codec/scalar.ts';
import { alias, yesNo } from './common.ts';

const socket = element({ type: attribute(oneOf('unix')), mode: attribute(oneOf('connect')), path: attribute(path) });

/** A trusted platform module, played by an swtpm; its state moves with the guest. */
export const tpm = element(
  {
    model: optionalAttribute(oneOf('tpm-tis', 'tpm-crb')),
    backend: child(
      choice(
        'type',
        {
          /** Started with the guest. */
          emulator: element(
            {
              version: optionalAttribute(oneOf('1.2', '2.0')),
              /** The state outlives the domain in either case. */
              persistent_state: hostSide(optionalAttribute(yesNo)),
            },
            {
              refused: {
                encryption: 'Ferry does not keep secrets: put the state directory on an encrypted disk',
                active_pcr_banks: 'Choose the banks in the guest',
                profile: 'It belongs to newer swtpms than Ferry starts',
                source: 'The state is in the state directory of the agent',
              },
            },
          ),
          /** Somebody else's. */
          external: element({ source: hostSide(child(socket)) }),
        },
        { hostSide: true, refused: { passthrough: 'A device of the host cannot be moved' } },
      ),
    ),
    alias,
  },
  {
    check: ({ model, backend }, report) => {
      if (model === 'tpm-crb' && backend.type === 'emulator' && backend.version === '1.2')
        report('xml-invalid', '/backend/@version', 'a tpm-crb is a TPM 2.0', "Use version='2.0' or model='tpm-tis'");
    },
  },
);

export type Tpm = Of<typeof tpm>;
