/** The guards of what the agents ask each other, and of what they believe where a journal is lost: spec/handover.pml and spec/edges.pml. */
import { byTest, type Guard, inDest, inScript, inSource } from './guard.ts';

const finishTest = 'services/dest-agent/src/finish.test.ts';
const decisionTest = 'services/dest-agent/src/decision.test.ts';
const wholeTest = 'services/dest-agent/src/whole-copy.test.ts';
const recallTest = 'services/source-agent/src/recall.test.ts';
const registerTest = 'libs/handover/src/register.test.ts';

const gateAsked = inDest('decision', 'if (held.state.promised.has(incarnation)) {', 'if (false) {');

export const questionGuards: readonly Guard[] = [
  {
    name: 'NO_GATE',
    about: 'the destination acts on "committed" although it has promised since it asked',
    edits: [inDest('finish', /\/\/ The gate: [^\n]*\n\s*refusePromised\(held\);/g), gateAsked],
    shownBy: byTest(finishTest, 'does not act on a commit whose answer comes after the source was given a promise'),
  },
  {
    name: 'NO_GATE_ASKED',
    about: 'the same, where the destination has asked the register to abort',
    edits: [gateAsked],
    shownBy: byTest(
      decisionTest,
      'does not believe the register that it committed, if it has given its promise while it asked',
    ),
  },
  {
    name: 'NO_WITNESS',
    about: 'a destination that has crashed and finds its QEMU dead promises, although the guest may have gone on there',
    edits: [
      inDest(
        'decision',
        'if (mayHaveRun && state.revived && state.mayHaveCommitted) return { answer: Answer.ANSWER_UNDECIDED };',
      ),
    ],
    shownBy: byTest(
      decisionTest,
      'promises nothing where an earlier life may have let the guest go on, and its QEMU is not there to show',
    ),
  },
  {
    name: 'NO_SHOW',
    about: 'the destination answers "committed" before its guest runs, and may still withdraw',
    edits: [inDest('decision', 'mayStillRefuse ? Answer.ANSWER_UNDECIDED : ', '')],
    shownBy: byTest(
      finishTest,
      'tells the source nothing of its commit while QEMU may still refuse to start the guest',
    ),
  },
  {
    name: 'BLIND_RESUMES',
    about: 'a source whose journal is lost takes this for a guest that was not sent',
    edits: [inSource('recall', 'if (!(await maySent(agent, held, signal))) {', 'if (true) {')],
    shownBy: byTest(recallTest, 'takes no guest back that was sent, although the journal is lost, but asks'),
  },
  {
    name: 'BLIND_TRUSTS_R',
    about: 'a source whose journal is lost asks the register, which may have lost the commit',
    edits: [inSource('recall', 'state.doneWithRegister = true;')],
    shownBy: byTest(recallTest, 'takes no guest back that was sent, although the journal is lost, but asks'),
  },
  {
    name: 'BLIND_COMMITS',
    about: 'a destination whose journal is lost with its promise acts on a commit of the register',
    edits: [inDest('recall', 'state.doneWithRegister = true;')],
    shownBy: byTest(
      'services/dest-agent/src/recall.test.ts',
      'asks the source and not the register where a guest came whole and the journal is',
    ),
  },
  {
    name: 'NO_ONE_DEST',
    about: 'a record has whichever destination joined last, and another one commits',
    edits: [
      inScript('register-begin', /^if ARGV\[3\] == 'dest' and destHost .*$/gm),
      inScript('register-commit', /^if redis.call\('HGET', KEYS\[1\], 'destHost'\) .*$/gm),
    ],
    shownBy: byTest(registerTest, 'has one destination: another host cannot join, commit, drop or withdraw'),
  },
  {
    name: 'NO_ASK',
    about: 'a destination gives a whole copy up, which may be the only one, and has not asked the source',
    edits: [inDest('decision', '(await askBeforeAbort(agent, held, signal)) ?? ')],
    shownBy: byTest(wholeTest, 'keeps a whole copy whose source does not answer'),
  },
  {
    name: 'NO_BIND',
    about:
      'a source whose copy has ended does not bind the register: the destination is told "aborted", and ends the only one',
    edits: [inSource('hand-over', /await agent\.register\.bind\([^;]*;/g)],
    shownBy: byTest(
      'services/source-agent/src/decision.test.ts',
      'binds the register before it hands a guest over whose copy here has ended',
    ),
  },
  {
    name: 'NO_BIND_COMMITS',
    about: 'a record that is bound and undecided is aborted by a destination that asks',
    edits: [inScript('register-abort', "recorded[1] == 'undecided' and recorded[4] and recorded[5]", 'false')],
    shownBy: byTest(registerTest, 'commits a record that is bound and undecided, whoever asks for an abort'),
  },
  {
    name: 'NO_DEAD_WITHDRAW',
    about: 'the commit of a QEMU that has ended before it was told to start the guest stands',
    edits: [inDest('start', 'if (dead) return true;', 'if (dead) return false;')],
    shownBy: byTest(wholeTest, 'withdraws the commit of a QEMU that has ended before it was told to start the guest'),
  },
  {
    name: 'NO_UNSURE',
    about: 'a source whose QEMU ended with its host just after the vote aborts, and the destination ends the only copy',
    edits: [inSource('decision', 'state.doneWithRegister || isUnsure', 'state.doneWithRegister')],
    shownBy: byTest(
      'services/source-agent/src/hand-over.test.ts',
      'does not abort where it may have voted: the destination is told that this copy has ended',
    ),
  },
  {
    name: 'NO_SEEN_VOTE',
    about: 'a destination goes on with a whole copy without the vote: the guest may have run on at the source since',
    edits: [inDest('decision', "if (state.voteSeen) return 'committed';", "return 'committed';")],
    shownBy: byTest(
      wholeTest,
      'neither goes on with a whole copy nor ends it where nobody knows of a vote and the source’s has ended',
    ),
  },
  {
    name: 'WITHDRAW_STARTED',
    about: 'a commit is withdrawn of a guest that has gone on at the destination, and was paused by its user since',
    edits: [inDest('start', 'if (state.started) return false;')],
    shownBy: byTest(
      wholeTest,
      'withdraws a commit that QEMU refuses to act on, and not that of a guest that has gone on here and is paused since',
    ),
  },
  {
    name: 'NO_RUN_STATE',
    about: 'a guest that had shut down while its memory flowed is started',
    edits: [inDest('finish', "!paused && (runState ?? 'paused') === 'paused'", '!paused')],
    shownBy: byTest(finishTest, 'does not start a guest that had shut down before it came'),
  },
];
