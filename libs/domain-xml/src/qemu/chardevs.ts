import type { Serial } from '../vocabulary/chardev.ts';
import { json, required } from './json.ts';

/** A serial port and where its bytes go. `-chardev` has no JSON in QEMU 7.2: paths are checked to have no commas. */
export function chardevArguments(port: Serial): string[] {
  const id = required(port.alias, 'serial alias').name;
  const device = { driver: 'isa-serial', chardev: `char${id}`, id, index: required(port.target?.port, 'serial port') };
  return ['-chardev', backend(port, `char${id}`), '-device', json(device)];
}

function backend(port: Serial, id: string): string {
  if (port.type === 'null') return `null,id=${id}`;
  if (port.type === 'unix') return `socket,id=${id},path=${port.source.path},server=on,wait=off`;
  // What the guest wrote before a migration stays, unless the document asks for a new file.
  return `file,id=${id},path=${port.source.path},append=${port.source.append === false ? 'off' : 'on'}`;
}
