/** What a script learns from `ferry` without reading anything: its exit status. `ferry --help` lists them. */

export const exitStatus = {
  ok: 0,
  /** It was refused or failed. A guest that was to migrate is on the source as it was, or has shut down by itself. */
  failed: 1,
  /** The command line, a file it names, or the hosts file is wrong; nothing was asked of anybody. */
  usage: 2,
  /** The migration was cancelled; the guest is on the source as it was. */
  cancelled: 3,
  /** An agent or Redis cannot be reached, or cannot serve now; so an answer is missing, or nothing was done. */
  unavailable: 4,
  /** A migration in doubt: which host runs the guest is not known. */
  inDoubt: 5,
  /** The guest's QEMU has ended: it runs nowhere any more. */
  lost: 6,
  /** What the hosts and the ownership record say does not agree. */
  contradiction: 7,
  /** A migration holds the domain: ask again when it is over. */
  migrating: 8,
  /** Ctrl-C: we left; a migration that has begun goes on. */
  interrupted: 130,
} as const;

export type Ending = Exclude<keyof typeof exitStatus, 'ok'>;

/** For `--help`. */
export const exitStatusHelp = `
Exit status:
  0    done
  1    refused or failed; a guest that was to migrate is on the source as it was, or has shut down by itself
  2    wrong usage; nothing was asked of anybody
  3    cancelled; the guest is on the source as it was
  4    an agent or Redis cannot be reached or cannot serve now: an answer is missing, or nothing was done
  5    in doubt: which host runs the guest is not known; \`ferry watch ID\`, \`ferry where NAME\`
  6    lost: the guest's QEMU has ended, it runs nowhere any more
  7    the hosts and the ownership record contradict each other; \`ferry where\` says how
  8    a migration holds the domain, no host has it running or paused now; ask again when it is over
  130  interrupted; a migration that has begun goes on`;
