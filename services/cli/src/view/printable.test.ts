import { expect, it } from '@jest/globals';
import { printable } from './printable.ts';

it.each([
  ['web-1 “ü” 東京\tx\n', 'web-1 “ü” 東京\tx\n'],
  ['\u001B[2J\u001B]0;title\u0007', String.raw`\u{1b}[2J\u{1b}]0;title\u{7}`],
  ['\u009B31m', String.raw`\u{9b}31m`],
  ['a\rb', String.raw`a\u{d}b`],
  ['gpj\u202E.exe', String.raw`gpj\u{202e}.exe`],
  ['we\u200Bb', String.raw`we\u{200b}b`],
  ['a\u2028b', String.raw`a\u{2028}b`],
  ['\uD800', String.raw`\u{d800}`],
])('%j is shown as %j', (text, shown) => {
  expect(printable(text)).toBe(shown);
});
