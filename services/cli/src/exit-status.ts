/** What a script learns from `ferry` without reading anything: its exit status. `ferry --help` lists them. */

export const exitStatus = {
  ok: 0,
  /** It was refused or failed. A guest that was to migrate is on the source as it was. */
  failed: 1,
  /** The command line, a file it names, or the hosts file is wrong; nothing was asked of anybody. */
  usage: 2,
  /** The migration was cancelled; the guest is on the source as it was. */
  cancelled: 3,
  /** An agent cannot be reached, or says that it cannot serve now. */
  unavailable: 4,
  /** It is not known how it ended: the agents settle it; look again. */
  inDoubt: 5,
  /** The guest's QEMU has ended: it runs nowhere any more. */
  lost: 6,
  /** Ctrl-C: we left; a migration that has begun goes on. */
  interrupted: 130,
} as const;

export type Ending = Exclude<keyof typeof exitStatus, 'ok'>;

/** For `--help`. */
export const exitStatusHelp = `
Exit status:
  0    done
  1    refused or failed; a guest that was to migrate is on the source as it was
  2    wrong usage; nothing was asked of anybody
  3    cancelled; the guest is on the source as it was
  4    an agent cannot be reached or cannot serve now
  5    in doubt: it is not known how it ended; \`ferry watch ID\`, \`ferry where NAME\`
  6    lost: the guest's QEMU has ended, it runs nowhere any more
  130  interrupted; a migration that has begun goes on`;
