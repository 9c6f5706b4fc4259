/** How Begin's answer is kept in Redis: one that tells display passwords only encrypted, under a secret that never leaves this host. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Codec } from '@ferry/agent';
import { BeginResponse } from '@ferry/proto/ferry/v1/source_agent';

const cipher = 'aes-256-gcm';
const ivBytes = 12;
const tagBytes = 16;
/** No cookie begins so: a message has no field 0. */
const mark = Buffer.from([0, 1]);

export const beginCodec = (secret: Buffer, isSecret: () => boolean): Codec<BeginResponse> => ({
  encode: (response) =>
    isSecret()
      ? BeginResponse.encode({
          domainXml: '',
          cookieOut: encrypted(BeginResponse.encode(response).finish(), secret),
        })
      : BeginResponse.encode(response),
  decode: (bytes) => {
    const response = BeginResponse.decode(bytes);
    if (!response.cookieOut.subarray(0, mark.length).equals(mark)) return response;
    return BeginResponse.decode(decrypted(response.cookieOut.subarray(mark.length), secret));
  },
});

function encrypted(plain: Uint8Array, secret: Buffer): Buffer {
  const iv = randomBytes(ivBytes);
  const sealing = createCipheriv(cipher, secret, iv);
  const body = Buffer.concat([sealing.update(plain), sealing.final()]);
  return Buffer.concat([mark, iv, sealing.getAuthTag(), body]);
}

function decrypted(bytes: Buffer, secret: Buffer): Buffer {
  const opening = createDecipheriv(cipher, secret, bytes.subarray(0, ivBytes));
  opening.setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
  return Buffer.concat([opening.update(bytes.subarray(ivBytes + tagBytes)), opening.final()]);
}
