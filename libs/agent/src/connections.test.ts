import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { afterEach, describe, expect, it } from '@jest/globals';
import { connectionLimits } from './connections.ts';
import { dial, invoke } from './client.ts';
import { prepareRequest, startTestAgent, type TestAgent } from './testing/agent.ts';

const patient = AbortSignal.timeout(60_000);
const strangers: Socket[] = [];
afterEach(() => {
  for (const socket of strangers.splice(0)) socket.destroy();
});

/** A TCP connection that shows no certificate; `closed` is true once the agent has ended it. */
async function stranger({ server }: TestAgent): Promise<{ socket: Socket; closed: () => boolean }> {
  const socket = connect(Number(server.address.split(':').at(-1)), '127.0.0.1').resume();
  strangers.push(socket);
  socket.on('error', () => undefined);
  let closed = false;
  socket.on('close', () => (closed = true));
  await once(socket, 'connect');
  return { socket, closed: () => closed };
}

const answers = (agent: TestAgent): Promise<unknown> =>
  invoke(agent.client, DestAgentService.prepare, prepareRequest, patient);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(10, undefined, { signal: patient });
}

describe('a stranger without a certificate', () => {
  it('is not kept: silent, or one byte at a time', async () => {
    await using agent = await startTestAgent({}, { limits: { handshakeMs: 300 } });
    const [silent, slow] = [await stranger(agent), await stranger(agent)];
    const dripping = setInterval(() => slow.socket.write(Buffer.from([0x16])), 50);
    await until(() => silent.closed() && slow.closed());
    clearInterval(dripping);
    await answers(agent);
  });

  it('does not keep those who have one out, however many there are', async () => {
    const limits = { handshakeMs: 60_000, handshakesMax: 8, perCertificateMax: 100, connectionsMax: 20 };
    await using agent = await startTestAgent({}, { limits });
    const many = await Promise.all(Array.from({ length: 60 }, () => stranger(agent)));
    await answers(agent);
    await until(() => many.filter(({ closed }) => !closed()).length <= limits.handshakesMax);
  });
});

it('takes so many connections with one certificate, and no more', async () => {
  const limits = { perCertificateMax: 3 };
  await using agent = await startTestAgent({}, { limits });
  // Clients with credentials of their own share no connection.
  const others = await Promise.all(
    Array.from({ length: 3 }, async () => dial(agent.server.address, await agent.reopen())),
  );
  for (const client of others) await invoke(client, DestAgentService.prepare, prepareRequest, patient);
  await expect(answers(agent)).rejects.toMatchObject({ code: 14 });
  others[0]?.close();
  await invoke(agent.client, DestAgentService.prepare, prepareRequest, patient, { waitForReady: true });
  for (const client of others) client.close();
});

it('leaves descriptors for journals and monitors, however few there are', () => {
  for (const descriptorsMax of [64, 256, 1_024, 4_096, 1_048_576]) {
    const { connectionsMax, handshakesMax } = connectionLimits(descriptorsMax);
    expect(descriptorsMax - connectionsMax).toBeGreaterThanOrEqual(Math.min(768, descriptorsMax / 2));
    expect(handshakesMax).toBeLessThan(connectionsMax);
  }
});
