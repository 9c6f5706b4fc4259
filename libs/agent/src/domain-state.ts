/** A guest's state as callers see it, from QEMU's run state. */
import { DomainState } from '@ferry/proto/ferry/v1/domains';

const states: Readonly<Record<string, DomainState>> = {
  running: DomainState.DOMAIN_STATE_RUNNING,
  paused: DomainState.DOMAIN_STATE_PAUSED,
  prelaunch: DomainState.DOMAIN_STATE_PAUSED,
  'io-error': DomainState.DOMAIN_STATE_PAUSED,
  watchdog: DomainState.DOMAIN_STATE_PAUSED,
  shutdown: DomainState.DOMAIN_STATE_SHUTDOWN,
  'guest-panicked': DomainState.DOMAIN_STATE_CRASHED,
  'internal-error': DomainState.DOMAIN_STATE_CRASHED,
  suspended: DomainState.DOMAIN_STATE_SUSPENDED,
  inmigrate: DomainState.DOMAIN_STATE_INCOMING,
  'finish-migrate': DomainState.DOMAIN_STATE_MIGRATED,
  postmigrate: DomainState.DOMAIN_STATE_MIGRATED,
};

/** Unknown for a state of a newer QEMU, and for none. */
export const domainStateOf = (runState: string | undefined): DomainState =>
  states[runState ?? ''] ?? DomainState.DOMAIN_STATE_UNKNOWN;
