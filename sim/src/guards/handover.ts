/** The guards of spec/handover.pml and those beside it that keep the agents' own steps apart: where each is in the code. */
import { byTest, type Guard, inDest, inScript, inSource, schedule } from './guard.ts';

/** All that go by a record compare its run's nonce. */
const comparing = ['renew', 'vote', 'commit', 'abort', 'bind', 'withdraw', 'give-back'] as const;
const deciding = ['register-vote', 'register-commit', 'register-abort', 'register-withdraw'] as const;

export const handoverGuards: readonly Guard[] = [
  {
    name: 'NO_VOTE',
    about: 'the destination commits without the source’s vote',
    edits: [inScript('register-commit', /^if not voted and .*'vote-missing'.*$/gm)],
    shownBy: schedule(910),
  },
  {
    name: 'NO_DECISION',
    about: 'the source resumes its guest because Finish failed, without asking the register',
    edits: [
      inSource(
        'decision',
        'return (await agent.register.abort(handoverOf(held), signal)).decision;',
        "return 'aborted';",
      ),
    ],
    shownBy: schedule(14),
  },
  {
    name: 'NO_INCARNATION',
    about: 'decisions ignore that Redis came back with older data',
    edits: deciding.flatMap((script) => [
      inScript(script, /^if incarnation ~= ARGV\[1\] .*$/gm),
      inScript(script, /recorded\[2\] == incarnation/g, 'recorded[2]'),
      inScript(script, "'vote', incarnation", "'vote', ARGV[1]"),
    ]),
    shownBy: byTest(
      'libs/handover/src/register.test.ts',
      'holds void what an older life of Redis was told, where its data survived',
    ),
  },
  {
    name: 'NO_FORGOTTEN',
    about: 'a record that Redis has lost is made again by the script that decides',
    edits: deciding.map((script) => inScript(script, /^if redis.call\('EXISTS', KEYS\[1\]\) == 0 .*$/gm)),
    shownBy: byTest(
      'libs/handover/src/register.test.ts',
      'treats a record that has gone as a register that may have forgotten',
    ),
  },
  {
    name: 'NO_JOURNAL',
    about: 'nothing is written down before it is done',
    edits: [{ file: 'sim/src/journals.ts', from: 'this.#disk.set(entry.migrationId, entry);', to: '' }],
    shownBy: schedule(1, 'all'),
  },
  {
    name: 'NO_BINDING',
    about: 'a commit is withdrawn that the source goes by',
    edits: [inScript('register-withdraw', 'recorded[4] or ')],
    shownBy: byTest('libs/handover/src/register.test.ts', 'takes a commit back unless the source goes by it'),
  },
  {
    name: 'NO_GRANT',
    about: 'a withdrawal from before takes back a commit that was granted anew since',
    edits: [inScript('register-withdraw', 'recorded[4] or recorded[3] ~= ARGV[3]', 'recorded[4]')],
    shownBy: byTest(
      'libs/handover/src/register.test.ts',
      'does not take back what was granted anew: a withdrawal that comes late is void',
    ),
  },
  {
    name: 'NO_NONCE',
    about: 'the record of an earlier run of the id is taken for this one’s',
    edits: [
      ...comparing.map((script) =>
        inScript(`register-${script}`, / or \(redis\.call\('HGET', KEYS\[1\], 'run'\) or ''\) ~= ARGV\[\d\]/g),
      ),
      inScript('register-begin', "exists and (before[4] or '') ~= ARGV[7]", 'false'),
    ],
    shownBy: byTest(
      'libs/handover/src/register.test.ts',
      'that is decided: it decides nothing for this run, nor does it change',
    ),
  },
  {
    name: 'JOIN_MAKES',
    about: 'the destination’s join makes a record that Redis has forgotten',
    edits: [inScript('register-begin', /^if ARGV\[6\] == 'join' .*$/gm)],
    shownBy: byTest('libs/handover/src/register.test.ts', 'is joined by the destination only where its record is'),
  },
  {
    name: 'CHANGED_IS_ABORTED',
    about: 'a register that has changed is taken for "aborted"',
    edits: [inSource('decision', "if (!state.voted) return 'aborted';", "return 'aborted';")],
    shownBy: schedule(407, 'outcomes', 'fail-over,call-lost'),
  },
  {
    name: 'NO_PROMISE',
    about: 'the destination answers the source’s question and is not bound by its answer',
    edits: [inDest('decision', /state\.promised\.add\([\w.]+\);/g)],
    shownBy: schedule(47, 'all'),
  },
  {
    name: 'NO_REPLID',
    about: 'an incarnation is the process of Redis alone, which may come back with the data of another one',
    edits: [inScript('incarnation', /^local incarnation = run .*$/gm, 'local incarnation = run')],
    shownBy: byTest(
      'libs/handover/src/register.test.ts',
      'does nothing in the same process once that has been a replica: its data is another’s',
    ),
  },
  {
    name: 'LATE_BEGIN',
    about: 'a source that has voted makes the record again that Redis has lost, and then asks it',
    edits: [
      inSource(
        'decision',
        'return (await agent.register.abort(',
        'await agent.register.begin(handoverOf(held), signal); return (await agent.register.abort(',
      ),
    ],
    shownBy: schedule(693, 'all', 'forget,call-lost,crash'),
  },
  {
    name: 'NO_LOOK_ALIVE',
    about: 'Finish commits without looking whether the waiting QEMU lives',
    edits: [
      inDest('finish', 'if (guest.monitor.closed.aborted || !agent.hypervisor.isAlive(guest)) await incoming.failed;'),
    ],
    shownBy: byTest(
      'services/dest-agent/src/finish.test.ts',
      'does not ask for the commit of a QEMU that has ended since it loaded the guest',
    ),
  },
];
