import { expect, it } from '@jest/globals';
import type { DomainXmlError } from '@ferry/domain-xml';
import type { HandoverError } from '@ferry/handover';
import type { HypervisorError } from '@ferry/hypervisor';
import type { JobError } from '@ferry/jobs';
import type { MigrationError } from '@ferry/migration';
import type { QmpError } from '@ferry/qemu-qmp';
import { type Reason, reasons } from '@ferry/rpc/reasons';
import type { AgentError } from './errors.ts';

type FerryError = AgentError | DomainXmlError | HandoverError | HypervisorError | JobError | MigrationError | QmpError;
type Kind = FerryError['kind'] | 'internal';

/** Neither a kind of error that the table lacks nor a row that no error has compiles. */
const rowOf = (kind: Kind) => reasons[kind];
const kindOf = (reason: Reason): Kind => reason;

it('has a row for each kind of error, and no other', () => {
  for (const reason of Object.keys(reasons) as Reason[]) expect(rowOf(kindOf(reason))).toBe(reasons[reason]);
});
