import { createHash } from 'node:crypto';

/** QEMU's node names have at most 31 characters, the longest of ours ends with `-backing99-storage`. */
const prefixMax = 13;

/** What the names of a disk's block nodes begin with: its alias, or a digest of one that is too long for QEMU. */
export function nodePrefix(alias: string): string {
  if (alias.length <= prefixMax) return alias;
  return `n${createHash('sha256')
    .update(alias)
    .digest('hex')
    .slice(0, prefixMax - 1)}`;
}
