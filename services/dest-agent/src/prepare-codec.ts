/** How Prepare's answer is kept: without the memory's key, which is derived when it is given again. */
import type { Codec, RunKeys } from '@ferry/agent';
import { restoreMemoryKey, withoutMemoryKey } from '@ferry/migration';
import { PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';

export const prepareCodec = (keys: RunKeys): Codec<PrepareResponse> => ({
  encode: (response) =>
    PrepareResponse.encode({ ...response, cookieOut: Buffer.from(withoutMemoryKey(response.cookieOut)) }),
  decode: (bytes) => {
    const response = PrepareResponse.decode(bytes);
    return {
      ...response,
      cookieOut: Buffer.from(restoreMemoryKey(response.cookieOut, (cookie) => keys.memory(cookie))),
    };
  },
});
