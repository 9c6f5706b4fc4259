import type { Domain } from '../domain.ts';

/** The address on which a completed domain's SPICE display wants a port that the host chooses; undefined if there is none. */
export function spiceHost({ devices }: Domain): string | undefined {
  for (const one of devices.graphics) {
    const [listen] = one.listen;
    if (one.type === 'spice' && one.port === undefined && listen?.type === 'address')
      return listen.address ?? '127.0.0.1';
  }
  return undefined;
}
