/** The documents known that cost most to read: each once held an agent, and the migrations beside it, up for seconds or minutes. */
const times = (count: number, make: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => make(i)).join('');
const document = (devices: string, top = ''): string =>
  `<domain type='qemu'><name>w</name><memory unit='GiB'>16</memory><vcpu>1</vcpu>${top}
   <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>${devices}</devices></domain>`;
const diskName = (i: number): string =>
  (i < 26 ? '' : diskName(Math.floor(i / 26) - 1)) + String.fromCharCode(97 + (i % 26));
const cells = (count: number, inside: string): string =>
  `<cpu mode='host-passthrough'><numa>${times(count, (i) => `<cell id='${i}' memory='1024'>${inside}</cell>`)}</numa></cpu>`;

export const worstDocuments: Readonly<Record<string, string>> = {
  '1000 unknown devices in 4 kB': document('<x/>'.repeat(1000)),
  '1000 devices that are refused by name': document('<hostdev/>'.repeat(1000)),
  '1000 unknown elements of the domain': document('', '<x/>'.repeat(1000)),
  '1000 empty disks': document('<disk/>'.repeat(1000)),
  '1000 empty serial ports': document('<serial/>'.repeat(1000)),
  '1000 empty controllers': document('<controller/>'.repeat(1000)),
  '19000 unknown devices': document('<x/>'.repeat(19_000)),
  '3000 unknown devices of as many names': document(times(3000, (i) => `<x${i}/>`)),
  '20000 unknown attributes': document(`<disk ${times(20_000, (i) => `a${i}='' `)}/>`),
  '1000 disks': document(
    times(1000, (i) => `<disk><source file='/srv/${i}'/><target dev='sd${diskName(i)}' bus='scsi'/></disk>`),
  ),
  '1000 root ports': document("<controller type='pci' model='pcie-root-port'/>".repeat(1000)),
  '4000 root ports': document("<controller type='pci' model='pcie-root-port'/>".repeat(4000)),
  '1000 bridges': document("<controller type='pci' model='pcie-to-pci-bridge'/>".repeat(1000)),
  '1000 cards': document("<interface type='user'/>".repeat(1000)),
  '1000 hubs': document("<hub type='usb'/>".repeat(1000)),
  '4000 hubs': document("<hub type='usb'/>".repeat(4000)),
  '1000 tablets': document("<input type='tablet' bus='usb'/>".repeat(1000)),
  '1000 aliases': document(times(1000, (i) => `<input type='tablet' bus='usb'><alias name='ua-${i}'/></input>`)),
  '1000 channels': document(times(1000, (i) => `<channel type='null'><target type='virtio' name='c${i}'/></channel>`)),
  '127 NUMA cells with all distances': document(
    '',
    cells(127, `<distances>${times(127, (i) => `<sibling id='${i}' value='20'/>`)}</distances>`),
  ),
  '5000 NUMA cells': document('', cells(5000, '')),
  '5000 CPU features': document(
    '',
    `<cpu mode='custom' match='exact'><model>qemu64</model>${times(5000, (i) => `<feature policy='require' name='f${i}'/>`)}</cpu>`,
  ),
  'a CPU set of 50000 ranges': document('').replace('<vcpu>', `<vcpu cpuset='${'0-1023,'.repeat(50_000)}1'>`),
  '4000 pinned CPUs': document(
    '',
    `<cputune>${times(4000, (i) => `<vcpupin vcpu='${i}' cpuset='0-1023'/>`)}</cputune>`,
  ),
  '1024 I/O threads': document(
    '',
    `<iothreads>1024</iothreads><iothreadids>${times(1024, (i) => `<iothread id='${i + 1}'/>`)}</iothreadids>`,
  ),
  '3000 entries of firmware': document(
    '',
    `<sysinfo type='fwcfg'>${times(3000, (i) => `<entry name='opt/x/${i}'>v</entry>`)}</sysinfo>`,
  ),
  'metadata of 900 kB': document('', `<metadata>${'x'.repeat(900_000)}</metadata>`),
  'comments of 900 kB': document('', `<metadata>${'<!---->'.repeat(130_000)}</metadata>`),
  'spaces of 900 kB before what is not closed': `<domain>${' '.repeat(900_000)}`,
};
