import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import type { RoleGrant } from './callers.ts';
import { invoke } from './client.ts';
import { Peers } from './peers.ts';
import { serve } from './serve.ts';
import { makeCertificates } from './testing/certificates.ts';
import { startTestAgent } from './testing/agent.ts';
import { openCredentials } from './tls.ts';

const patient = AbortSignal.timeout(30_000);
const question = { migrationId: '3fa85f64-5717-4562-b3fc-2c963f66afa6', domain: 'x' };
const ask = (peers: Peers, address: string) =>
  invoke(peers.at(address), DestAgentService.getMigration, question, patient);

it('an agent is called, and the host that its certificate is for is known then', async () => {
  await using agent = await startTestAgent();
  using peers = new Peers(agent.credentials, []);
  expect(peers.hostAt(agent.server.address)).toBeUndefined();
  await ask(peers, agent.server.address);
  expect(peers.hostAt(agent.server.address)).toBe('test');
});

it.each<[string, string[], RoleGrant[], string | undefined]>([
  ['a controller’s certificate', ['spiffe://test/ferry/controller'], [], undefined],
  ['no role', [], [], undefined],
  ['a name that is listed as an agent’s', [], [{ name: 'CN=x', role: 'agent', host: 'h' }], 'h'],
  ['a name that is listed for something else', [], [{ name: 'CN=x', role: 'admin' }], undefined],
])(
  'a server with %s, which is good for its address, is called only if it is an agent’s',
  async (_, names, grants, host) => {
    const dir = mkdtempSync(join(tmpdir(), 'ferry-peers-'));
    try {
      const credentials = await openCredentials(await makeCertificates(dir, 'x', ['127.0.0.1'], names));
      await using server = await serve(
        { side: 'dest', listen: { host: '127.0.0.1', port: 0 }, credentials },
        [],
        patient,
      );
      using peers = new Peers(credentials, grants);
      const refused = await ask(peers, server.address).then(
        () => undefined,
        (error: unknown) => error,
      );
      // One that is connected to allows its caller nothing, or serves nothing.
      const isConnected = { details: expect.not.stringContaining('No connection') };
      const isRefused = { code: status.UNAVAILABLE, details: expect.stringContaining('no agent’s') };
      expect(refused).toMatchObject(host === undefined ? isRefused : isConnected);
      expect(peers.hostAt(server.address)).toBe(host);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);
