/** QEMU's options with what no test machine has replaced: the accelerator, images, sockets and devices of the host. */
export function forThisMachine(options: readonly string[]): string[] {
  return options.map((option, i) => {
    const before = options[i - 1];
    if (before === '-accel') return 'tcg';
    if (before === '-cpu') return option.replace(/^host\b/, 'max');
    if (before === '-object') return ordinaryMemory(option);
    if (before === '-blockdev') return replacedImage(option);
    return option;
  });
}

/** Memory of this machine, of ordinary pages, taken when it is needed. */
function ordinaryMemory(option: string): string {
  const object = JSON.parse(option) as Record<string, unknown>;
  const special = ['hugetlb', 'hugetlbsize', 'prealloc', 'prealloc-threads', 'host-nodes', 'policy'];
  return JSON.stringify(Object.fromEntries(Object.entries(object).filter(([key]) => !special.includes(key))));
}

/** An image of nothing in place of one that is not here. */
function replacedImage(option: string): string {
  const node = JSON.parse(option) as Record<string, unknown>;
  const { driver } = node;
  const common = { 'node-name': node['node-name'], 'read-only': node['read-only'] };
  if (driver === 'qcow2') return JSON.stringify({ driver: 'raw', ...common, file: node['file'] });
  if (driver === 'raw' || driver === 'throttle') return option;
  return JSON.stringify({ driver: 'null-co', size: 1 << 20, ...common });
}

const missing = [
  /No such file or directory/,
  /vhost/,
  /is not a valid device model name/,
  /unsupported machine type/,
  /Could not open/,
  /Connection refused/,
  /Cannot assign requested address/,
  /kernel irqchip/,
  /HyperV/,
  /phys-bits too low/,
];

/** Whether QEMU complains of something that this machine lacks, not of its options. */
export const isMissingHere = (complaint: string): boolean => missing.some((pattern) => pattern.test(complaint));
