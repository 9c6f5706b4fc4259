import type { Domain } from './domain.ts';

/** Where QEMU looks for the swtpm that is started with it; undefined where none is. */
export const tpmSocket = ({ devices: { tpm } }: Domain, directory: string): string | undefined =>
  tpm?.backend.type === 'emulator' ? `${directory}/tpm.sock` : undefined;
