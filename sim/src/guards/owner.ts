/** The guards of spec/owner.pml: where each is in the code. */
import { byTest, type Guard, inDest, inScript, inSource, schedule } from './guard.ts';

const keeperTest = 'services/source-agent/src/ownership.test.ts';

export const ownerGuards: readonly Guard[] = [
  {
    name: 'NO_EPOCH',
    about: 'a release that is late takes the record from a guest that was started again',
    edits: [inScript('owner-release', ' and known[2] == ARGV[2]')],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'is not released by whoever has seen what Redis has lost: the same epoch, given anew',
    ),
  },
  {
    name: 'NO_SINCE',
    about: 'the same, where Redis was flushed and counts anew',
    edits: [inScript('owner-release', ' and known[4] == ARGV[5]')],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'is not released by whoever has seen what Redis has lost: the same epoch, given anew',
    ),
  },
  {
    name: 'NO_UNDER',
    about: 'the same, where Redis lost the claim and the host has confirmed the older one that came back',
    edits: [inScript('owner-release', " and (known[6] or '') == ARGV[6]")],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'is not released by whoever has seen what Redis has lost: the same epoch, given anew',
    ),
  },
  {
    name: 'NO_SEEN',
    about: 'a guest of which Redis has brought back an older owner stays that owner’s, who may start it',
    edits: [
      inScript(
        'owner-claim',
        "local over = ARGV[4] == 'seen' and (known[5] ~= incarnation or known[7])",
        'local over = false',
      ),
    ],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'of an older life of Redis is refused to those who start it, and given to the host that is seen running it',
    ),
  },
  {
    name: 'NO_OWNER',
    about: 'a Finish that is late commits a guest that runs on a third host by then',
    edits: [
      inScript(
        'register-commit',
        'local moved = owner[2] and not asItWas and owner[1] ~= ARGV[4]',
        'local moved = false',
      ),
    ],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'does not take a guest that somebody has given to another host since Begin, nor one that ran there meanwhile',
    ),
  },
  {
    name: 'NO_OWNER_EPOCH',
    about: 'a Finish that is late commits a guest that has ended and was started on the source again',
    edits: [
      inScript('register-commit', 'owner[1] == recorded[3] and owner[2] == recorded[4]', 'owner[1] == recorded[3]'),
    ],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'does not take a guest that has ended on the source and was started there anew',
    ),
  },
  {
    name: 'NO_BEGIN_CLAIM',
    about: 'begin finds no owner and notes nothing, so that the commit cannot compare',
    edits: [
      inScript('register-begin', "if not redis.call('HGET', KEYS[2], 'host') then", 'if false then'),
      inScript(
        'register-begin',
        "redis.call('HGET', KEYS[2], 'epoch'))",
        "redis.call('HGET', KEYS[2], 'epoch') or '')",
      ),
      inScript('register-commit', 'owner[2] == recorded[4]', "(owner[2] == recorded[4] or recorded[4] == '')"),
    ],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'does not take a guest that was started anew where Redis had lost its owner when the source began',
    ),
  },
  {
    name: 'BEGIN_NOTES_AGAIN',
    about: 'begin notes the epoch again, of an ownership that is not the one it began with',
    edits: [
      inScript(
        'register-begin',
        "redis.call('HSETNX', KEYS[1], 'ownerEpoch'",
        "redis.call('HSET', KEYS[1], 'ownerEpoch'",
      ),
    ],
    shownBy: byTest(
      'libs/handover/src/owner.test.ts',
      'does not take it either where the source has told the register of itself again since',
    ),
  },
  {
    name: 'RELEASE_HELD',
    about: 'the ownership of a guest is released while a migration holds it',
    edits: [inSource('ownership', ' && !(await migrating(domain, signal))')],
    shownBy: schedule(1015, 'all', 'qemu,call-lost,stall'),
  },
  {
    name: 'NO_LOOK_FIRST',
    about: 'the record is read after the look at the guest, and one that was started meanwhile is released',
    edits: [
      inSource(
        'ownership',
        /const owner = await owners\.of\(domain, signal\);\n\s*const sight = await this\.#see\(domain, signal\);/g,
        'const sight = await this.#see(domain, signal); const owner = await owners.of(domain, signal);',
      ),
    ],
    shownBy: byTest(keeperTest, 'a guest that is started while it is looked at is not given up by that look'),
  },
  {
    name: 'NO_EXPECT',
    about: 'a look between Adopt’s claim and the adoption finds no guest, and releases it',
    edits: [inSource('domains', 'using _coming = agent.ownership.expect(domain.uuid);')],
    shownBy: byTest(keeperTest, 'a guest that is being adopted is not given up because it is not here yet'),
  },
  {
    name: 'ADOPT_KEEPS',
    about: 'Adopt keeps the epoch: a late release or commit cannot tell that there is another guest now',
    edits: [inSource('domains', "claim(domain, 'start', `adopted", "claim(domain, 'keep', `adopted")],
    shownBy: byTest(
      keeperTest,
      'a guest that was adopted is another one: a release that means the one before comes to nothing',
    ),
  },
  {
    name: 'NO_KEEP',
    about: 'a guest that was paused while another host was given it is resumed',
    edits: [
      inSource('domains', 'await agent.owners.refuseForeign({ uuid: id, name }, signal);'),
      inSource('domains', /await agent\.owners\.claim\(\{ uuid: id, name \}, 'keep'[^;]*;/g),
    ],
    shownBy: byTest(keeperTest, 'a guest that was paused while another host was given it is not resumed'),
  },
  {
    name: 'NO_SENT_CLAIM',
    about: 'the source resumes its copy on the destination’s promise, and the guest was started elsewhere since',
    edits: [inSource('decision', 'await claimSent(agent, held, signal);')],
    shownBy: byTest(
      'services/source-agent/src/decision.test.ts',
      'claims the guest before it resumes a copy that was sent, and does not where another host owns it',
    ),
  },
  {
    name: 'NO_GIVE_BACK',
    about: 'a commit was granted and not acted on; the guest runs on the source, and the record says the destination',
    edits: [inDest('recover', 'await giveBack(agent, held, signal);')],
    shownBy: byTest(
      'services/dest-agent/src/whole-copy.test.ts',
      'writes down that it drops its copy before its QEMU ends, and gives the guest back in the record',
    ),
  },
];
