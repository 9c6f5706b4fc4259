/** Two tiny programs for telemetry.test.ts: `serve REDIS` is a destination agent, `call ADDRESS` calls it once under a span of its own. */
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { openRedis, parseRedisUrl, waitForRedis } from '@ferry/redis/connect';
import { trace } from '@opentelemetry/api';
import { edgeOf } from '../call.ts';
import { dial, invoke } from '../client.ts';
import { openLog } from '../log.ts';
import { startTelemetry } from '../telemetry.ts';
import { serve } from '../serve.ts';
import { openCredentials } from '../tls.ts';
import { untilAsked } from '../until-asked.ts';
import { implementationOf, prepareRequest } from './agent.ts';

const [, , role = '', argument = ''] = process.argv;
await using _telemetry = await startTelemetry(role);
const log = openLog('info');
const credentials = await openCredentials(undefined);

await untilAsked(async (shutdown) => {
  if (role === 'serve') {
    const redis = openRedis(parseRedisUrl(argument), log);
    await waitForRedis(redis, log, shutdown);
    const prepare = async () => {
      await redis.set('secret-key', 'secret-value');
      return { migrationUri: 'tcp:x:1', cookieOut: Buffer.alloc(0) };
    };
    const implementation = implementationOf({ prepare }, edgeOf({ side: 'dest' as const, log, draining: shutdown }));
    const options = { side: 'dest' as const, listen: { host: '127.0.0.1', port: 0 }, credentials };
    const server = await serve(options, [{ definition: DestAgentService, implementation }], shutdown);
    log.info({ address: server.address }, 'serving');
    await server.ended;
    redis.disconnect();
  } else {
    const client = dial(argument, credentials);
    await trace.getTracer('test').startActiveSpan('migrate', async (span) => {
      await invoke(client, DestAgentService.prepare, prepareRequest, shutdown);
      log.info('called');
      span.end();
    });
    client.close();
  }
});
