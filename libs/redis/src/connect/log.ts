import type { Logger } from 'pino';

/** What a connection's ups and downs are told to. */
export type Log = Pick<Logger, 'debug' | 'info' | 'warn'>;
