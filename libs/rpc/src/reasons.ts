/**
 * Every reason why a call is refused or a migration ends badly: the one place for its gRPC code, whether the same request may succeed later, what
 * it means and what to do. Agents answer by it, the command line advises by it, docs/operations.md is made from it.
 */
import { status } from '@grpc/grpc-js';

export interface ReasonRow {
  readonly code: status;
  /** Whether the same request, under a new migration id if the old one is over, may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** Which agent gives it. */
  readonly side: 'source' | 'dest' | 'both';
  readonly meaning: string;
  /** What to do; empty where nothing is to be done. */
  readonly hint: string;
  /** Where docs/operations.md says more: a link in it. */
  readonly see?: string;
}

/** In the order of docs/operations.md. */
export const reasons = {
  cancelled: {
    code: status.CANCELLED,
    retryable: true,
    side: 'both',
    meaning: 'the caller hung up',
    hint: 'call again',
  },
  'deadline-exceeded': {
    code: status.DEADLINE_EXCEEDED,
    retryable: true,
    side: 'both',
    meaning: "the caller's deadline passed",
    hint: 'ask with GetMigration, give more time',
  },
  draining: {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'the agent is about to end',
    hint: 'call again when it is back',
  },
  'too-many-calls': {
    code: status.RESOURCE_EXHAUSTED,
    retryable: true,
    side: 'both',
    meaning: 'one certificate has 500 calls that have not ended, or begins more than 500 a second',
    hint: 'call again after `retry_after_ms`; end calls, read their answers',
  },
  'too-many-watchers': {
    code: status.RESOURCE_EXHAUSTED,
    retryable: true,
    side: 'both',
    meaning: '64 watch this migration',
    hint: 'ask with GetMigration, or watch once and pass on',
  },
  'not-allowed': {
    code: status.PERMISSION_DENIED,
    retryable: false,
    side: 'both',
    meaning:
      'the certificate has no [role](security.md#roles) that may make this call, has it for other domains, or is of an agent whose host takes no part in the migration',
    hint: 'use a certificate with that role; `FERRY_ROLES` says which has which',
  },
  'compression-unsupported': {
    code: status.UNIMPLEMENTED,
    retryable: false,
    side: 'both',
    meaning: 'the messages of the call are compressed',
    hint: 'send them as they are',
  },
  'config-invalid': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'the agent does not start: environment, TLS files or address',
    hint: 'read its output; it names every variable',
  },
  internal: {
    code: status.INTERNAL,
    retryable: false,
    side: 'both',
    meaning: 'a bug',
    hint: "look for `log_id` in that agent's log; report it",
  },
  'xml-malformed': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'not well-formed, over 1 MiB, too deep, a DTD, entities',
    hint: 'mend the document',
  },
  'xml-unsupported': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'an element, attribute or value that Ferry does not know; all are named',
    hint: 'remove what is named from the document',
  },
  'xml-invalid': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning:
      'a wrong value: a `/` in a name, `..` in a path, an address used twice, a file outside `FERRY_DOMAIN_PATHS`',
    hint: 'mend the value that is named',
  },
  'abi-mismatch': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      'the document for the destination describes another machine than the guest runs on; each difference is named by device and value',
    hint: 'start from what `ferry dumpxml` prints, and change only what the host sees (paths, ports, bridges)',
  },
  'register-unavailable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'Redis did not answer: the decision is not known now',
    hint: 'check Redis; the agents go on by themselves once it answers',
  },
  'register-changed': {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: 'another life of Redis answers, or the record is gone',
    hint: 'the agents settle it between themselves once they reach each other',
    see: '[Redis has lost its data](#redis-has-lost-its-data)',
  },
  'register-reply': {
    code: status.INTERNAL,
    retryable: false,
    side: 'both',
    meaning: 'Redis answered what we do not understand',
    hint: 'is it Redis 7, and are all agents of one version?',
  },
  'vote-missing': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'dest',
    meaning: 'Finish before the source has voted',
    hint: 'call Perform first',
  },
  'prepared-elsewhere': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'dest',
    meaning: 'the migration id was prepared at another host, which the message names',
    hint: 'a migration has one destination: choose a fresh id',
  },
  'migration-id-used': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'Redis has the record of an earlier migration with this id',
    hint: 'choose a fresh id',
  },
  'owned-elsewhere': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      "Start, Adopt or Resume of a guest that another host owns; the message names it, since when and why, or the migration in doubt that protects the guest. As a migration's cause: the guest was started on another host meanwhile, and the older copy is ended",
    hint: 'end it there, or migrate it; wait until the migration ends, or `ferry resolve` it; if that host is gone for good, and only then: `ferry forget NAME --host HOST`',
    see: '[a host that is gone for good](#a-guests-owner)',
  },
  'host-unknown': {
    code: status.NOT_FOUND,
    retryable: false,
    side: 'source',
    meaning: '`ferry forget-host` of a name under which no host is registered',
    hint: 'the message of an agent that refuses to serve names it; `redis-cli --scan --pattern ferry:host:*` shows all',
  },
  'host-alive': {
    code: status.FAILED_PRECONDITION,
    retryable: true,
    side: 'source',
    meaning: '`ferry forget-host` of a host whose agents serve, or hold leases',
    hint: 'end its agents; its name is held for 15 s, a lease for `FERRY_LEASE_MS`',
  },
  'journal-unreadable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'a file or directory in `handover/` of the state directory cannot be read; nothing is decided meanwhile',
    hint: 'mend the disk or the directory; the agents go on by themselves',
  },
  'journal-unwritable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning:
      'a file in `handover/` of the state directory cannot be written: its disk is full, or fails. A migration that was beginning is given up, and the guest runs on; one that has to be settled waits',
    hint: 'make room, or mend the disk; then start again under a fresh id',
  },
  'journal-damaged': {
    code: status.DATA_LOSS,
    retryable: false,
    side: 'both',
    meaning:
      'a file in `handover/` of the state directory was empty or damaged, and is set aside as `ID.json.damaged`; other migrations go on, but no guest of this host that was sent can be resumed by its user while it is there',
    hint: 'only the other host knows the decision: `ferry where NAME`, then remove the file',
  },
  'domain-not-found': {
    code: status.NOT_FOUND,
    retryable: false,
    side: 'both',
    meaning: 'no such domain on this host',
    hint: '`ferry where NAME` asks all hosts',
  },
  'domain-exists': {
    code: status.ALREADY_EXISTS,
    retryable: false,
    side: 'both',
    meaning: 'its UUID or name is on this host already',
    hint: 'end the one there; `ferry list` shows it',
  },
  'domain-not-running': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'source',
    meaning: 'not running or paused, or not the QEMU that the XML describes',
    hint: '`ferry list` shows its state',
  },
  'disk-missing': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'a file is not there, not accessible, or really outside `FERRY_DOMAIN_PATHS`',
    hint: 'put the file on the destination under the same path, or share it between the hosts',
  },
  'file-refused': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      "a file is not what it may be: something else than a regular file, a socket, a device of `/dev`, another guest's or program's, one with a hard link; or a qcow2 image names a data file, or below it something that is no plain file, has no format, or is outside `FERRY_DOMAIN_PATHS`",
    hint: 'the message says which file, and what would make it usable',
  },
  'host-exposed': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      "a display on all addresses, which anybody could use, a character device that connects to a service of the host's own, or a label that would confine QEMU on this host, which Ferry does not apply",
    hint: "another address, `<seclabel type='none'/>`; `FERRY_ALLOW`",
  },
  'host-lacks': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      'the document asks for something of the host that Ferry does not do there: a limit (`cputune`, `memtune`, `blkiotune`, `bandwidth`), a filter (`filterref`), a switch’s port (`virtualport`, `vlan`) or a macvtap device',
    hint: 'the message says what to do instead; limits and filters are left out where `FERRY_ALLOW` says so',
  },
  'network-missing': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'the document names a network, or a port group of one, that `FERRY_NETWORKS` of this host does not',
    hint: 'add it to `FERRY_NETWORKS` of that host, with its bridge there, and restart the agents',
  },
  'not-enough-memory': {
    code: status.RESOURCE_EXHAUSTED,
    retryable: true,
    side: 'both',
    meaning: 'less memory available than the guest and the reserve need',
    hint: 'free memory on the destination, or choose another host',
  },
  'qemu-start-failed': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'QEMU ended while starting; the message has its last words',
    hint: 'mend what it says',
  },
  'machine-unsupported': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'this QEMU lacks the machine type',
    hint: 'an older machine type, or a newer QEMU there',
  },
  'cpu-unsupported': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'this QEMU cannot give the guest features of its CPU; they are named',
    hint: 'choose a host that has these features, or give the guest a CPU model without them',
  },
  'ports-exhausted': {
    code: status.RESOURCE_EXHAUSTED,
    retryable: true,
    side: 'dest',
    meaning: '`FERRY_MIGRATION_PORTS` is used up',
    hint: 'wait for other migrations to end, or widen `FERRY_MIGRATION_PORTS` on the destination',
  },
  'address-unusable': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'dest',
    meaning: "QEMU cannot listen there, or the host's configuration does not allow it",
    hint: 'leave the URI to the agent; check `FERRY_MIGRATION_ADDRESS`',
  },
  'state-unreadable': {
    code: status.DATA_LOSS,
    retryable: false,
    side: 'both',
    meaning: 'a file in the state directory is damaged',
    hint: "look; remove that domain's directory if no QEMU runs from it",
  },
  'state-unwritable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning:
      "a domain's directory in the state directory cannot be made: its disk is full, or fails; nothing is left of it",
    hint: 'make room, or mend the disk',
  },
  'job-held': {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: 'another job held the domain for 30 s; the message names it',
    hint: 'wait for the job that holds the domain, or give it up',
  },
  'already-migrating': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'another migration holds the domain; the message names it',
    hint: 'it may be watched with `ferry watch ID` and given up with `ferry abort ID`; `ferry list` shows its ID',
  },
  'unknown-migration': {
    code: status.NOT_FOUND,
    retryable: false,
    side: 'both',
    meaning: 'this agent holds no such migration',
    hint: 'is it the right host and side?',
  },
  'foreign-migration': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'the domain is held by another migration',
    hint: 'use its id, or wait',
  },
  'phase-out-of-order': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'the phase may not follow the one recorded; an id that is over',
    hint: 'call the phases in the order of the protocol; what is over needs a new id',
    see: '[protocol.md](protocol.md)',
  },
  'phase-in-progress': {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: 'a phase of this migration is being executed',
    hint: 'wait for its answer; repeating it gives the same',
  },
  'lease-lost': {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: "the job's lease could not be renewed in time",
    hint: 'mend Redis; the guest runs where it was, or the register decides',
  },
  'redis-unavailable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'Redis did not answer within a second',
    hint: 'check Redis; the agents go on by themselves once it answers',
  },
  'redis-reply': {
    code: status.INTERNAL,
    retryable: false,
    side: 'both',
    meaning: 'Redis answered what we do not understand',
    hint: 'is it Redis 7, and are all agents of one version?',
  },
  'cookie-missing': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'the phase before gave a cookie that was not passed on',
    hint: 'pass it on',
  },
  'cookie-damaged': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'cut, changed, no cookie at all, over 4 MiB',
    hint: 'pass it on unchanged',
  },
  'cookie-version': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'made by a newer agent',
    hint: "upgrade this host's agents",
  },
  'cookie-feature': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'requires a feature that this agent does not know; named',
    hint: "upgrade this host's agents",
  },
  'cookie-foreign': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'of another phase, migration, run of its id, or domain',
    hint: "pass on this migration's own",
  },
  'cookie-forged': {
    code: status.PERMISSION_DENIED,
    retryable: false,
    side: 'both',
    meaning:
      'not made by the agent of this migration that it names ([why](decisions/0020-cookies-are-proven.md)), or by one from before cookies were proven',
    hint: "pass on what that phase returned, unchanged; upgrade that host's agents",
  },
  'same-host': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'both sides have one host UUID',
    hint: 'choose another host with `--to`; each host has a `FERRY_HOST_UUID` of its own',
  },
  'invalid-request': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning: 'a field is missing or wrong; named',
    hint: 'mend the field that is named',
  },
  'request-differs': {
    code: status.ALREADY_EXISTS,
    retryable: false,
    side: 'both',
    meaning:
      'the id was used before, for another request: another destination, document or options; the old answer would not be true of this one',
    hint: 'a fresh id; or the same request again',
  },
  'invalid-uri': {
    code: status.INVALID_ARGUMENT,
    retryable: false,
    side: 'both',
    meaning:
      "not `tcp:HOST[:PORT]` nor `unix:/PATH`; at Perform: not what the destination's cookie names, or no socket of `FERRY_MIGRATION_SOCKETS`",
    hint: 'mend it, or leave it out; pass on what Prepare returned',
  },
  'destination-unreachable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'source',
    meaning:
      'the destination agent cannot be reached; or, before memory flows, its name or that of where its QEMU waits cannot be resolved, is a loopback address, or connections to it are refused for 10 s',
    hint: 'is it running; does its certificate name that address; are `FERRY_ADDRESS` and `FERRY_MIGRATION_ADDRESS` right there? `ferry list` asks all hosts',
  },
  'source-unreachable': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'dest',
    meaning: 'likewise the source agent, by its own word (`FERRY_ADDRESS`)',
    hint: 'set `FERRY_ADDRESS` there to a name or an address that all hosts know',
  },
  'source-agent-away': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'dest',
    meaning:
      "the destination's host has no source agent that runs with its state directory: the guest would be beyond all commands there",
    hint: 'start `ferry-source-agent` there',
  },
  'destination-refused': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'source',
    meaning: 'the destination gave up and said nothing more',
    hint: 'look at the log of the destination’s agent',
  },
  'migration-failed': {
    code: status.ABORTED,
    retryable: true,
    side: 'source',
    meaning: 'QEMU gave the migration up; its words are in the message',
    hint: 'look at the network between the hosts, and at the destination’s `qemu.log`',
  },
  'migration-cancelled': {
    code: status.CANCELLED,
    retryable: true,
    side: 'both',
    meaning: 'it was asked for',
    hint: '',
  },
  'migration-blocked': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'source',
    meaning:
      'QEMU says that this guest cannot migrate, and why; block jobs run on its images; a disk runs on another image than its document says',
    hint: 'remove the device it names; wait for the jobs, or cancel them',
  },
  'migration-unsafe': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'source',
    meaning:
      'it could be done, but the guest or its data might come to harm; [each hazard](#unsafe-migrations) is named',
    hint: 'change what is named; `--unsafe` migrates all the same',
  },
  'memory-not-encrypted': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning:
      'the host has `FERRY_REQUIRE_TLS` and the migration would send memory in the clear (v2 without certificates, `--no-tls`); or certificates are asked for and `FERRY_MEMORY_TLS_DIR` is not set',
    hint: 'use v3, or `--tls` with certificates on both hosts',
  },
  'capability-missing': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'QEMU is older than 7.2',
    hint: 'upgrade QEMU',
  },
  'guest-gone': {
    code: status.ABORTED,
    retryable: false,
    side: 'source',
    meaning: "the guest's QEMU ended during the migration",
    hint: 'start it again',
  },
  'guest-ended': {
    code: status.ABORTED,
    retryable: false,
    side: 'source',
    meaning: 'the guest shut down, or its user ended it (Destroy), during the migration',
    hint: 'start it again, if it is wanted',
  },
  'incoming-failed': {
    code: status.ABORTED,
    retryable: true,
    side: 'dest',
    meaning: "the destination's QEMU could not load the guest, or ended",
    hint: 'its words are in the message; same QEMU, same CPU?',
  },
  'not-ready': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'source',
    meaning:
      'register, destination agent or its QEMU did not answer before the switchover for `FERRY_HOLD_MS`; the guest was not stopped',
    hint: 'mend what the message names, start again',
  },
  'switching-over': {
    code: status.ABORTED,
    retryable: true,
    side: 'source',
    meaning: 'Suspend or Destroy of a guest that is stopped for its switchover',
    hint: 'ask the destination; here, if the migration fails',
  },
  'handshake-failed': {
    code: status.ABORTED,
    retryable: true,
    side: 'source',
    meaning:
      "three times the TLS handshake of the memory's connection failed, or was not answered for `FERRY_STALL_MS`; nothing was sent, the guest runs on",
    hint: "look who else connects to the destination's migration ports, at the network, with `--tls` at both hosts' certificates; start again",
  },
  'switchover-stalled': {
    code: status.ABORTED,
    retryable: true,
    side: 'source',
    meaning:
      "the guest was stopped for its switchover, and its stream, or the destination's answer to Finish, did not come for `FERRY_STALL_MS`; it runs on here",
    hint: 'look at the network between the hosts, start again',
  },
  'not-migrating': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'it is over; the guest is on the source',
    hint: 'start again with a new id',
  },
  'in-doubt': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'being settled: whoever knows has not answered yet',
    hint: 'the agents settle it once Redis or the other agent answers: `ferry watch ID`, then `ferry where NAME`',
    see: '[in doubt](#in-doubt)',
  },
  'other-undecided': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'the other agent answers, and does not know either',
    hint: 'it is asked again',
    see: '[in doubt](#in-doubt)',
  },
  'not-in-doubt': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'an operator would resolve a migration that the agents go on with, or have settled',
    hint: '`ferry watch ID` shows how it goes on, or ended',
  },
  'resolution-disproved': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'an operator would resolve it otherwise than what is known',
    hint: 'leave it to the agents; or resolve it the other way, if what is said here allows that',
    see: '[in doubt](#in-doubt)',
  },
  abandoned: {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: 'no phase came for `FERRY_IDLE_MS`, or after Perform for `FERRY_FINISH_MS`, or the agent was restarted',
    hint: 'start again with a new id',
  },
  'qemu-disconnected': {
    code: status.ABORTED,
    retryable: true,
    side: 'both',
    meaning: "QEMU or its monitor's connection ended",
    hint: 'is QEMU alive; its `qemu.log`',
  },
  'qemu-refused': {
    code: status.FAILED_PRECONDITION,
    retryable: false,
    side: 'both',
    meaning: 'QEMU answered a command with an error; quoted',
    hint: 'mend what QEMU names',
  },
  'qemu-protocol': {
    code: status.INTERNAL,
    retryable: false,
    side: 'both',
    meaning: 'QEMU sent what is not QMP',
    hint: 'is something else on that socket?',
  },
  'qemu-unreachable': {
    code: status.UNAVAILABLE,
    retryable: true,
    side: 'both',
    meaning: 'no process listens on the monitor, or QEMU hangs',
    hint: 'is QEMU alive?',
  },
} as const satisfies Readonly<Record<string, ReasonRow>>;

export type Reason = keyof typeof reasons;

/** Whether a word, from another agent say, is a reason that we know. */
export const isReason = (word: string): word is Reason => Object.hasOwn(reasons, word);

/** The row of a reason, as other agents may give it; undefined for one that we do not know. */
export const reasonRow = (word: string): ReasonRow | undefined => (isReason(word) ? reasons[word] : undefined);
