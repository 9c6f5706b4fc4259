/** QEMU's options with what no test machine has replaced: the accelerator, images, directories, sockets and devices of the host. */
export function forThisMachine(options: readonly string[], directory: string): string[] {
  const kept = options.filter((option, i) => !isOfTpm(option, options[i - 1]) && !isOfTpm(options[i + 1], option));
  return kept.map((option, i) => {
    const before = kept[i - 1];
    if (before === '-accel') return 'tcg';
    if (before === '-cpu') return option.replace(/^host\b/, 'max');
    if (before === '-object') return ordinaryMemory(option);
    if (before === '-blockdev') return replacedImage(option);
    if (before === '-chardev') return replacedBackend(option);
    if (before === '-netdev') return replacedNetwork(option);
    if (before === '-audiodev') return replacedSound(option);
    if (before === '-fsdev') return option.replace(/,path=[^,]*/, `,path=${directory}`);
    if (before === '-spice')
      return withoutTls(option).replace(/^(port=\d+,)?addr=[^,]*/, `unix=on,addr=${directory}/spice`);
    if (before === '-vnc') return option.replace(/^(\[[^\]]*\]|[\d.]+):/, '127.0.0.1:');
    return option;
  });
}

/** No certificates are here. */
const withoutTls = (option: string): string => option.replaceAll(/,(tls-port|x509-dir|tls-channel)=[^,]*/g, '');

/** Memory of this machine, of ordinary pages, taken when it is needed. */
function ordinaryMemory(option: string): string {
  const object = JSON.parse(option) as Record<string, unknown>;
  if (object['qom-type'] === 'memory-backend-file' && !String(object['mem-path']).startsWith('/dev/shm/'))
    return JSON.stringify({ 'qom-type': 'memory-backend-ram', id: object['id'], size: object['size'] });
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

/** A TPM needs its swtpm at once; where a real one is, it is tested with the launcher. */
const isOfTpm = (option: string | undefined, before: string | undefined): boolean =>
  before === '-tpmdev' || (before === '-device' && option?.includes('"tpmdev"') === true);

/** Nobody in place of who would be at the other end; what the guest sees stays. */
const replacedBackend = (option: string): string =>
  option.replace(/^(socket|serial|pipe|udp),(id=[^,]*).*$/s, 'null,$2');

/** QEMU's own network in place of the host's. */
function replacedNetwork(option: string): string {
  const { id, type } = JSON.parse(option) as { readonly id: string; readonly type: string };
  return ['socket', 'tap', 'vhost-user'].includes(type) ? JSON.stringify({ type: 'user', id }) : option;
}

/** Silence in place of what this build or this machine cannot play. */
function replacedSound(option: string): string {
  const { id, driver } = JSON.parse(option) as { readonly id: string; readonly driver: string };
  return ['pipewire', 'oss', 'pa', 'alsa', 'jack', 'sdl'].includes(driver)
    ? JSON.stringify({ id, driver: 'none' })
    : option;
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
