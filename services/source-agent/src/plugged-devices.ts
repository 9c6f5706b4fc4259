/** Devices that a running QEMU has and its document does not, or the other way round: plugged in or out through another monitor. */
import { deviceIds, type Domain } from '@ferry/domain-xml';
import type { Guest } from '@ferry/hypervisor';
import { MigrationError } from '@ferry/migration';

/** Where QEMU keeps what `-device` and `device_add` made, with an id and without one (qdev_set_id). */
const [named, anonymous] = ['/machine/peripheral', '/machine/peripheral-anon'] as const;

/**
 * Throws MigrationError migration-blocked with every device that differs: the destination would build another machine, and its QEMU refuse the stream
 * when the guest has been stopped. A QEMU that was adopted has ids of its own, and is not compared.
 */
export async function refusePlugged(domain: Domain, guest: Guest, signal: AbortSignal): Promise<void> {
  if (guest.adoptedMonitor !== undefined) return;
  const { ids, withoutId } = deviceIds(domain);
  const list = async (path: string) => {
    const properties = await guest.monitor.execute('qom-list', { path }, signal);
    return properties.filter(({ type }) => type.startsWith('child<'));
  };
  const [present, others] = [await list(named), await list(anonymous)];
  const added = present.filter(({ name }) => !ids.has(name)).map(({ name, type }) => `${name} (${driverOf(type)})`);
  const removed = [...ids].filter((id) => !present.some(({ name }) => name === id));
  const unnamed = others.length - withoutId;
  const differences = [
    ...added.map((device) => `${device} was plugged in`),
    ...removed.map((id) => `${id} was unplugged`),
    ...(unnamed > 0 ? [`${unnamed} devices without an id were plugged in`] : []),
  ];
  if (differences.length === 0) return;
  const message = `QEMU of domain ${domain.name} has other devices than its document: ${differences.join(', ')}`;
  throw new MigrationError('migration-blocked', `${message}; undo that through the monitor it was done with`);
}

const driverOf = (type: string): string => type.slice('child<'.length, -1);
