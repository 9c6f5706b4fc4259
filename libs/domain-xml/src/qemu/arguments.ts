import type { Domain } from '../domain.ts';
import { chardevArguments } from './chardevs.ts';
import { controllerArguments } from './controllers.ts';
import { diskArguments } from './disks.ts';
import { interfaceArguments } from './interfaces.ts';
import { machineArguments } from './machine.ts';
import { mediaArguments } from './media.ts';
import { memoryModuleArguments } from './memory.ts';
import { iommuArguments, smallDeviceArguments } from './small-devices.ts';

/**
 * QEMU's arguments for a completed domain: all that its document asks for. What belongs to the process (-S, -nodefaults,
 * -sandbox, monitors, -incoming) is the launcher's. Sockets that the document leaves to the host are made in `directory`; a SPICE display that leaves its
 * port to the host gets `spicePort`, which the caller knows to be free (`spiceHost` says whether there is one). Values stand in JSON, in an argument of their own, or are words without commas.
 */
export function qemuArguments(
  domain: Domain,
  directory = `/var/lib/ferry/domains/${domain.uuid}`,
  spicePort = 5900,
  nowMs = Date.now(),
): string[] {
  const { devices } = domain;
  return [
    ...machineArguments(domain, nowMs),
    ...iommuArguments(domain),
    ...memoryModuleArguments(domain),
    ...controllerArguments(domain),
    ...devices.disk.flatMap((disk) => diskArguments(disk, domain)),
    ...devices.interface.flatMap((card) => interfaceArguments(card, domain, directory)),
    ...chardevArguments(domain, directory),
    ...mediaArguments(domain, directory, spicePort),
    ...smallDeviceArguments(domain, directory),
    ...domain.kept.qemuArguments,
  ];
}
