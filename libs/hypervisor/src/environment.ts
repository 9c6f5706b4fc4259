/** The environment of the programs that a guest could take over: what they need, and nothing that an agent was told in confidence. */

/** Where programs and temporary files are, and how people here write; FERRY_LAB marks the processes of a lab. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'XDG_RUNTIME_DIR', 'FERRY_LAB'] as const;

/** For QEMU and swtpm: the agent's own has Redis' password and the places of its keys. */
export const guestEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(passedOn.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
