/** What is written down before the act that it allows: each entry that could be left out. */
import { byTest, type Guard, inDest, inSource } from './guard.ts';

const sourceTest = 'services/source-agent/src/decision.test.ts';
const finishTest = 'services/dest-agent/src/finish.test.ts';

export const journalGuards: readonly Guard[] = [
  {
    name: 'NO_PAUSED_JOURNAL',
    about: 'a guest that stays paused is taken over, and nothing shows it after a crash',
    edits: [inDest('start', /await journal\(agent, held\);\n\s*held\.state\.started/g, 'held.state.started')],
    shownBy: byTest(
      finishTest,
      'writes down that it has taken over a guest that stays paused before anybody is told of it',
    ),
  },
  {
    name: 'NO_ASKING_JOURNAL',
    about: 'the source is done with the register, crashes, and believes it again',
    edits: [inSource('decision', /await journal\(agent, held\);\n\s*const question/g, 'const question')],
    shownBy: byTest(sourceTest, 'writes down that it is done with the register before it asks the destination'),
  },
  {
    name: 'NO_INCARNATION_JOURNAL',
    about: 'the source begins anew in another life of Redis, crashes, and asks the one before',
    edits: [inSource('readiness', /await journal\(agent, held\)\.catch\(\(error: unknown\) => \{[^}]*\}\);/g)],
    shownBy: byTest(sourceTest, 'has written down in which life of the register it begins anew'),
  },
  {
    name: 'NO_FOLLOW',
    about:
      'the destination follows the source to another life of Redis, commits, crashes, and gives up in the one before',
    edits: [inDest('ready', /await journal\(agent, held\)\.catch\(\(error: unknown\) => \{[^}]*\}\);/g)],
    shownBy: byTest(finishTest, 'has written down which life of the register it follows when it says that it is ready'),
  },
  {
    name: 'NO_DROP_JOURNAL',
    about: 'the destination drops its copy, crashes, and cannot tell that it did not run',
    edits: [
      inDest(
        'recover',
        "if (state.decision === 'aborted' && state.incoming !== undefined) await journal(agent, held);",
      ),
    ],
    shownBy: byTest(
      'services/dest-agent/src/whole-copy.test.ts',
      'writes down that it drops its copy before its QEMU ends, and gives the guest back in the record',
    ),
  },
];
