/** What one side lets the other do on a connection; the same for servers and clients, since agents are both. */
import type { ChannelOptions } from '@grpc/grpc-js';

/** The largest message: domain XML of at most 1 MiB and cookies of at most 4 MiB fit. @internal */
export const messageBytesMax = 8 * 2 ** 20;

export const connectionOptions: ChannelOptions = {
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.max_send_message_length': messageBytesMax,
  // A connection that nobody uses stays ready for the blackout, and one to a host that vanished is given up in half a minute. It is shared by all
  // migrations there: an agent that has no processor for some seconds must not lose it. What a guest waits for has limits of its own.
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.keepalive_permit_without_calls': 1,
};

/** On one connection: more than one certificate may have open, so that it is told so instead of left waiting. */
export const streamLimits: ChannelOptions = { 'grpc.max_concurrent_streams': 1_000 };
