import { describe, expect, it } from '@jest/globals';
import { decode } from './decode.ts';
import { eventShapes, objectShapes, replyShapes } from './generated/shapes.ts';

const migration = (value: unknown) => decode(value, replyShapes['query-migrate'], 'query-migrate', objectShapes);

const counters = `transferred remaining total duplicate normal normal-bytes dirty-pages-rate dirty-sync-count
  postcopy-requests page-size multifd-bytes pages-per-second precopy-bytes downtime-bytes postcopy-bytes
  dirty-sync-missed-zero-copy`.split(/\s+/);
const ram = { ...Object.fromEntries(counters.map((name) => [name, 7])), mbps: 0.5 };

describe('decode', () => {
  it('lets through what QEMUs of several versions say', () => {
    expect(migration({})).toEqual({});
    // `skipped` is gone since 9.1; statuses and members come with newer ones.
    expect(migration({ status: 'active', ram })).toEqual({ status: 'active', ram });
    expect(migration({ status: 'active', ram: { ...ram, skipped: 0 } })).toMatchObject({ ram: { skipped: 0 } });
    const newer = { status: 'postcopy-device', 'something-new': { of: 'any kind' } };
    expect(migration(newer)).toEqual(newer);
    expect(decode({ status: 'no such' }, eventShapes.MIGRATION, 'MIGRATION', objectShapes)).toEqual({
      status: 'no such',
    });
  });

  it.each([
    { what: 'nothing', reply: undefined, place: 'query-migrate' },
    { what: 'a list', reply: [], place: 'query-migrate' },
    { what: 'a status that is no word', reply: { status: 3 }, place: 'query-migrate.status' },
    { what: 'a null', reply: { 'total-time': null }, place: 'query-migrate.total-time' },
    { what: 'a fraction', reply: { downtime: 0.5 }, place: 'query-migrate.downtime' },
    { what: 'no number', reply: { ram: { ...ram, mbps: '0.5' } }, place: 'query-migrate.ram.mbps' },
    { what: 'a lack', reply: { ram: { ...ram, remaining: undefined } }, place: 'query-migrate.ram.remaining' },
    { what: 'an element', reply: { 'blocked-reasons': ['a', 1] }, place: 'query-migrate.blocked-reasons[1]' },
    { what: 'an arm', reply: { 'socket-address': [{ type: 'inet', host: 'a' }] }, place: 'socket-address[0].port' },
  ])('refuses $what where it should not be', ({ reply, place }) => {
    const refused = expect.objectContaining({ kind: 'qemu-protocol', message: expect.stringContaining(place) });
    expect(() => migration(reply)).toThrow(refused);
  });

  it('leaves an arm of a newer QEMU alone', () => {
    const reply = { 'socket-address': [{ type: 'pigeon', loft: 7 }] };
    expect(migration(reply)).toEqual(reply);
  });

  it('rounds integers beyond 2^53 toward zero, so that QEMU takes them back', () => {
    const parameters = (rate: bigint) =>
      decode({ 'max-bandwidth': rate }, replyShapes['query-migrate-parameters'], 'parameters', objectShapes);
    expect(parameters(2n ** 64n - 1n)).toEqual({ 'max-bandwidth': 2 ** 64 - 2 ** 11 });
    expect(parameters(2n ** 60n)).toEqual({ 'max-bandwidth': 2 ** 60 });
    expect(parameters(-(2n ** 53n) - 1n)).toEqual({ 'max-bandwidth': -(2 ** 53) });
  });

  it('gives up on a reply that nests without end', () => {
    let device: object = { devices: [] };
    for (let i = 0; i < 10_000; i += 1) device = { ...bridged(device) };
    const buses = [{ bus: 0, devices: [device] }];
    expect(() => decode(buses, replyShapes['query-pci'], 'query-pci', objectShapes)).toThrow(/levels/);
  });
});

/** A PCI bridge with one device behind it. */
function bridged(device: object): object {
  const range = { base: 0, limit: 0 };
  const bus = {
    number: 0,
    secondary: 1,
    subordinate: 1,
    io_range: range,
    memory_range: range,
    prefetchable_range: range,
  };
  const id = { device: 1, vendor: 2 };
  const bridge = { bus, devices: [device] };
  const where = { bus: 0, slot: 0, function: 0, irq_pin: 0, qdev_id: '' };
  return { ...where, class_info: { class: 1 }, id, regions: [], pci_bridge: bridge };
}
