/** What the models assume of people and of Redis: nobody's code keeps to it, so that it cannot be taken away from the agents. */
import { assumed, type Guard } from './guard.ts';

export const assumptions: readonly Guard[] = [
  assumed(
    'WORD_DEAD',
    'a person vouches only that the other QEMU is dead, not that it never went on with the guest',
    'a person’s word is what the agents cannot find out; whoever gives it is asked both (ferry resolve)',
  ),
  assumed(
    'WORD_UNREACHABLE',
    'a person vouches for nothing: the other host is only unreachable',
    'the same; while the other agent answers the word is refused',
  ),
  assumed(
    'UNTRUE_WORD',
    'a person says Forget of a host that runs the guest, or will',
    'the host is away, so that nobody can look',
  ),
  assumed(
    'TRUST_LOSS',
    'Redis has lost a claim, and another host claims the guest before the one that runs it has looked again',
    'no script can tell a record that was lost from one that never was; schedules in which it happens are counted as excused',
  ),
  assumed(
    'SPLIT',
    'a Redis that was cut off takes writes',
    'it is a setting of Redis (min-replicas-to-write), which the agents look at when they start',
  ),
  assumed(
    'SLOW_CLAIM',
    'a guest that was seen running has left when its claim reaches Redis',
    'between the look and the claim lies one call; both are made again every 5 s',
  ),
];
