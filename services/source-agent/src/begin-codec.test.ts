import { randomBytes } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { beginCodec } from './begin-codec.ts';

const secret = randomBytes(32);
const response = { domainXml: "<graphics passwd='s3cret'/>", cookieOut: Buffer.from('a cookie with s3cret') };

it('keeps an answer that tells a password where only this host can read it', () => {
  const codec = beginCodec(secret, () => true);
  const kept = codec.encode(response).finish();
  expect(Buffer.from(kept).includes('s3cret')).toBe(false);
  expect(beginCodec(secret, () => false).decode(kept)).toEqual(response);
  expect(() => beginCodec(randomBytes(32), () => false).decode(kept)).toThrow('authenticate');
});

it('keeps any other as it is', () => {
  const codec = beginCodec(secret, () => false);
  expect(codec.decode(codec.encode(response).finish())).toEqual(response);
});
