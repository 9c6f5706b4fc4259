/** Reads documents from outside in a thread of its own, one after the other. */
import { parentPort } from 'node:worker_threads';
import {
  completeDomain,
  type Domain,
  DomainXmlError,
  parseDomain,
  type XmlPolicy,
  type XmlProblem,
} from '@ferry/domain-xml';

export interface DocumentRequest {
  readonly xml: string;
  readonly policy: XmlPolicy;
  readonly machineAliases: Readonly<Record<string, string>>;
}

export type DocumentReply =
  | { readonly domain: Domain }
  | { readonly refused: { readonly kind: DomainXmlError['kind']; readonly problems: readonly XmlProblem[] } }
  | { readonly failed: unknown };

function read({ xml, policy, machineAliases }: DocumentRequest): DocumentReply {
  try {
    return { domain: completeDomain(parseDomain(xml, policy), { machineAliases }) };
  } catch (error) {
    // A class does not survive the way to the other thread.
    if (error instanceof DomainXmlError) return { refused: { kind: error.kind, problems: error.problems } };
    return { failed: error };
  }
}

parentPort?.on('message', (request: DocumentRequest) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(read(request));
});
