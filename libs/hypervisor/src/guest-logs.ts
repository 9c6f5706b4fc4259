/**
 * Bounds the files that a guest makes its QEMU write without end: serial output, logs that a document names. QEMU opens these, and no disk, for writing
 * alone. One that has grown beyond the limit is cut to its end, through QEMU's own descriptor, so that no name can lead elsewhere.
 */
import { open, readdir, readFile, stat } from 'node:fs/promises';

/** What is kept of a file that is cut. */
const keptBytes = 64 * 1024;
/** open(2)'s access mode, O_WRONLY and O_APPEND, as /proc/PID/fdinfo shows them. */
const accessMode = 0o3;
const writesOnly = 0o1;
const appends = 0o2000;
/** stat(2) counts blocks in these, whatever the file system does. */
const blockBytes = 512;

/** Cuts those files that `pid` only writes and that take more than `bytesMax` on the disk; gives how many. A process that has ended has none. */
export async function cutGrown(pid: number, bytesMax: number): Promise<number> {
  let cut = 0;
  for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    const found = await stat(`/proc/${pid}/fd/${fd}`).catch(() => undefined);
    // One that QEMU does not append to is full of holes once it was cut: what counts is what it takes.
    if (found?.isFile() !== true || found.blocks * blockBytes <= bytesMax) continue;
    if (await cutToEnd(pid, fd)) cut += 1;
  }
  return cut;
}

/** QEMU goes on behind the end, if it appends; else where it was, and then nothing is kept. What it writes in this moment is lost. */
async function cutToEnd(pid: number, fd: string): Promise<boolean> {
  const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1').catch(() => '');
  const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(info)?.[1] ?? '0', 8);
  if ((flags & accessMode) !== writesOnly) return false;
  await using file = await open(`/proc/${pid}/fd/${fd}`, 'r+');
  const { size } = await file.stat();
  const bytes = (flags & appends) === 0 ? 0 : Math.min(size, keptBytes);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, size - bytes);
  await file.truncate(0);
  await file.write(buffer, 0, bytesRead, 0);
  return true;
}
