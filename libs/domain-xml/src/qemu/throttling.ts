import type { Disk } from '../vocabulary/disk.ts';
import { idOf, json, type JsonObject } from './json.ts';
import { nodePrefix } from './node-names.ts';

const names = {
  total_bytes_sec: 'x-bps-total',
  read_bytes_sec: 'x-bps-read',
  write_bytes_sec: 'x-bps-write',
  total_iops_sec: 'x-iops-total',
  read_iops_sec: 'x-iops-read',
  write_iops_sec: 'x-iops-write',
  total_bytes_sec_max: 'x-bps-total-max',
  read_bytes_sec_max: 'x-bps-read-max',
  write_bytes_sec_max: 'x-bps-write-max',
  total_iops_sec_max: 'x-iops-total-max',
  read_iops_sec_max: 'x-iops-read-max',
  write_iops_sec_max: 'x-iops-write-max',
  size_iops_sec: 'x-iops-size',
  total_bytes_sec_max_length: 'x-bps-total-max-length',
  read_bytes_sec_max_length: 'x-bps-read-max-length',
  write_bytes_sec_max_length: 'x-bps-write-max-length',
  total_iops_sec_max_length: 'x-iops-total-max-length',
  read_iops_sec_max_length: 'x-iops-read-max-length',
  write_iops_sec_max_length: 'x-iops-write-max-length',
} as const;

/**
 * Limits on a disk's speed: a filter above the format, and a group, its own or that of all disks which name it. Empty when there are
 * none.
 */
export function throttleArguments(disk: Disk, all: readonly Disk[]): string[] {
  const { iotune } = disk;
  if (iotune === undefined) return [];
  const id = idOf(disk);
  const group = iotune.group_name;
  const first = group === undefined ? disk : (all.find((one) => one.iotune?.group_name === group) ?? disk);
  const groupId = `${idOf(first)}-limits`;
  // One that names a group and no limits has those of the group, which are the same wherever they are given.
  const of = group === undefined ? iotune : (limitsOf(all, group) ?? iotune);
  const limits: Record<string, number> = {};
  for (const [ours, theirs] of Object.entries(names) as [keyof typeof names, string][]) {
    const value = of[ours];
    if (value !== undefined) limits[theirs] = value;
  }
  const object: JsonObject = { 'qom-type': 'throttle-group', id: groupId, ...limits };
  const filter = {
    driver: 'throttle',
    'node-name': `${nodePrefix(id)}-throttle`,
    'throttle-group': groupId,
    file: `${nodePrefix(id)}-format`,
  };
  return [...(first === disk ? ['-object', json(object)] : []), '-blockdev', json(filter)];
}

const limitsOf = (all: readonly Disk[], group: string): Disk['iotune'] =>
  all.find(({ iotune }) => iotune?.group_name === group && Object.keys(iotune).length > 1)?.iotune;
