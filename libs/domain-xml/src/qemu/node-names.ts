import { shortened } from './json.ts';

/** QEMU's node names have at most 31 characters, the longest of ours ends with `-backing99-storage`. */
const prefixMax = 13;

/** What the names of a disk's block nodes begin with: its id, or a digest of one that is too long for QEMU. */
export const nodePrefix = (id: string): string => shortened(id, prefixMax);
