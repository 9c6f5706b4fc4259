import { describe, expect, it } from '@jest/globals';
import { openLog } from './log.ts';

describe('openLog', () => {
  it('writes an error with its causes, but no command that a client put into one', () => {
    const lines: string[] = [];
    const log = openLog('info', { write: (line) => void lines.push(line) });
    const refused = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['user', 's3cret'] } });
    log.warn({ err: new Error('Redis cannot be asked', { cause: refused }) }, 'away');
    log.warn({ err: refused }, 'refused');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      err: {
        message: 'Redis cannot be asked',
        cause: { type: 'Error', message: 'WRONGPASS', stack: expect.any(String) },
      },
    });
    expect(JSON.parse(lines[1] ?? '')).toMatchObject({ err: { message: 'WRONGPASS' } });
    expect(lines.join()).not.toContain('s3cret');
  });
});
