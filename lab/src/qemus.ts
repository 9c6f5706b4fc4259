/** The QEMUs that a lab's agents have recorded in their state directories. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ProcessId } from './processes.ts';

/** A QEMU of one host. */
export interface LabQemu extends ProcessId {
  readonly host: string;
  /** The domain's UUID. */
  readonly domain: string;
}

const record = z.object({
  pid: z.number().int().positive(),
  startTime: z.union([z.string(), z.number()]).transform(String),
});

/** Every QEMU recorded below `dir`/HOST/domains/UUID/qemu.json, running or not. */
export function recordedQemus(dir: string): LabQemu[] {
  return globSync('*/domains/*/qemu.json', { cwd: dir }).flatMap((path) => {
    const [host = '', , domain = ''] = path.split('/');
    const found = record.safeParse(readJson(join(dir, path)));
    return found.success ? [{ host, domain, ...found.data }] : [];
  });
}

/** An agent may be writing or removing the file at this moment. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
