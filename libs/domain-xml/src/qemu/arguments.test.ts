import { describe, expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { qemuArguments } from './arguments.ts';

interface Parts {
  readonly top?: string;
  readonly os?: string;
  readonly features?: string;
  readonly devices?: string;
  readonly machine?: string;
}

const uuid = '4b1f2a6e-97c5-4a0e-8f4f-0d8a1c2b3e4f';
const complete = ({ top = '', os = '', features = '', devices = '', machine = 'pc-i440fx-7.2' }: Parts) =>
  completeDomain(
    parseDomain(
      `<domain type='kvm'><name>a</name><uuid>${uuid}</uuid><memory unit='MiB'>64</memory>${top}
        <os><type machine='${machine}'>hvm</type>${os}</os><features><acpi/>${features}</features>
        <devices>${devices}</devices></domain>`,
      { allowedRoots: ['/srv'], maxBytes: 1 << 20 },
    ),
    { machineAliases: {} },
  );
const argumentsOf = (parts: Parts) => qemuArguments(complete(parts), '/run/a', undefined, 0);

const spice = "<graphics type='spice' autoport='yes'/>";

/** What a document says, and what QEMU is told. */
const rows: readonly (readonly [what: string, parts: Parts, options: readonly string[]])[] = [
  [
    'a variable store',
    {
      os: "<loader type='pflash' readonly='yes'>/srv/code.fd</loader><nvram template='/srv/vars.fd'>/srv/a.fd</nvram>",
    },
    [
      '-blockdev',
      '{"driver":"file","filename":"/srv/a.fd","node-name":"pflash1-storage","auto-read-only":true,"read-only":false}',
    ],
  ],
  [
    'a variable store on a block device',
    {
      os: "<loader type='pflash' readonly='yes'>/srv/code.fd</loader><nvram type='block'><source dev='/srv/a'/></nvram>",
    },
    [
      '-blockdev',
      '{"driver":"host_device","filename":"/srv/a","node-name":"pflash1-storage","auto-read-only":true,"read-only":false}',
    ],
  ],
  [
    'a root bus that takes nothing while the guest runs',
    { devices: "<controller type='pci' index='0' model='pci-root'><target hotplug='off'/></controller>" },
    ['-global', 'PIIX4_PM.acpi-root-pci-hotplug=off'],
  ],
  [
    'a card that hides what it knows of screens',
    { devices: "<video><model type='vga' edid='off'/></video>" },
    ['-device', '{"driver":"VGA","id":"video0","vgamem_mb":16,"edid":false,"bus":"pci.0","addr":"0x2"}'],
  ],
  [
    'an ACPI table',
    { os: "<acpi><table type='slic'>/srv/slic</table></acpi>" },
    ['-acpitable', 'sig=SLIC,file=/srv/slic'],
  ],
  [
    'the pool of the main loop',
    { top: "<defaultiothread thread_pool_min='8' thread_pool_max='16'/>" },
    ['-object', '{"qom-type":"main-loop","id":"main-loop","thread-pool-min":8,"thread-pool-max":16}'],
  ],
  [
    'an address that leads to the host',
    { devices: "<channel type='null'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>" },
    ['-netdev', '{"type":"user","id":"channel0","guestfwd":[{"str":"tcp:10.0.2.1:4600-chardev:charchannel0"}]}'],
  ],
  [
    'datagrams',
    {
      devices:
        "<serial type='udp'><source mode='bind' host='127.0.0.1' service='99'/><source mode='connect' host='127.0.0.1' service='98'/></serial>",
    },
    ['-chardev', 'udp,id=charserial0,host=127.0.0.1,port=98,localaddr=127.0.0.1,localport=99'],
  ],
  [
    'a redirected device from the network, filtered',
    {
      devices: `<redirdev bus='usb' type='tcp'><source mode='connect' host='localhost' service='4000'/></redirdev>
        <redirfilter><usbdev class='0x08' vendor='0x15E1' version='9.4' allow='yes'/><usbdev allow='no'/></redirfilter>`,
    },
    [
      '-chardev',
      'socket,id=charredir0,host=localhost,port=4000',
      '-device',
      '{"driver":"usb-redir","chardev":"charredir0","id":"redir0","filter":"0x08:0x15E1:-1:0x0940:1|-1:-1:-1:-1:0","bus":"usb.0","port":"1"}',
    ],
  ],
  [
    'a card reader behind a socket',
    { devices: "<smartcard mode='passthrough' type='unix'><source mode='bind' path='/srv/card'/></smartcard>" },
    ['-chardev', 'socket,id=charsmartcard0,path=/srv/card,server=on,wait=off'],
  ],
  [
    'random numbers from a daemon',
    {
      devices:
        "<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' path='/srv/egd'/></backend></rng>",
    },
    [
      '-chardev',
      'socket,id=charrng0,path=/srv/egd',
      '-object',
      '{"qom-type":"rng-egd","id":"objrng0","chardev":"charrng0"}',
    ],
  ],
  [
    'sound on this machine',
    {
      devices:
        "<audio id='1' type='alsa'><input mixingEngine='yes' dev='/dev/dsp0'><settings frequency='44100' channels='2' format='s16'/></input></audio>",
    },
    [
      '-audiodev',
      '{"id":"audio1","driver":"alsa","in":{"mixing-engine":true,"dev":"/dev/dsp0","frequency":44100,"channels":2,"format":"s16"}}',
    ],
  ],
  [
    'sound in a file',
    { devices: "<audio id='1' type='file' path='/srv/a.wav'/>" },
    ['-audiodev', '{"id":"audio1","driver":"wav","path":"/srv/a.wav"}'],
  ],
  [
    'a SPICE display without a port of its own',
    { devices: spice },
    ['-spice', 'port=5900,addr=127.0.0.1,disable-ticketing=on,seamless-migration=on'],
  ],
  [
    'a SPICE display that nobody connects to',
    { devices: "<graphics type='spice'><listen type='address'/></graphics>" },
    ['-spice', 'port=0,disable-ticketing=on,seamless-migration=on'],
  ],
  [
    'SPICE channels in the open',
    {
      devices:
        "<graphics type='spice' port='5901' defaultMode='insecure'><channel name='main' mode='insecure'/></graphics>",
    },
    [
      '-spice',
      'port=5901,addr=127.0.0.1,disable-ticketing=on,plaintext-channel=default,plaintext-channel=main,seamless-migration=on',
    ],
  ],
  [
    'SPICE channels that are encrypted',
    {
      devices:
        "<graphics type='spice' port='5901' tlsPort='5902' defaultMode='secure'><channel name='main' mode='any'/><channel name='inputs' mode='secure'/></graphics>",
    },
    [
      '-spice',
      'port=5901,addr=127.0.0.1,disable-ticketing=on,tls-port=5902,x509-dir=/etc/pki/libvirt-spice,tls-channel=default,tls-channel=inputs,seamless-migration=on',
    ],
  ],
  [
    'SPICE that is encrypted alone',
    { devices: "<graphics type='spice' tlsPort='5902'/>" },
    [
      '-spice',
      'addr=127.0.0.1,disable-ticketing=on,tls-port=5902,x509-dir=/etc/pki/libvirt-spice,seamless-migration=on',
    ],
  ],
  [
    'a VNC display for browsers',
    { devices: "<graphics type='vnc' port='5901' websocket='5700'/>" },
    ['-vnc', '127.0.0.1:1,websocket=5700,audiodev=audio1'],
  ],
  [
    'a clock that runs on as the host does',
    { top: "<clock offset='utc'><timer name='rtc' track='realtime'/></clock>" },
    ['-rtc', 'base=utc,clock=rt'],
  ],
  [
    'a clock an hour ahead',
    { top: "<clock offset='variable' adjustment='3600' basis='utc'/>" },
    ['-rtc', 'base=1970-01-01T01:00:00'],
  ],
  [
    'a clock at no distance',
    { top: "<clock offset='variable' adjustment='0' basis='localtime'/>" },
    ['-rtc', 'base=localtime'],
  ],
  [
    'a clock on a wall',
    { top: "<clock offset='timezone' timezone='Asia/Tokyo'/>" },
    ['-rtc', 'base=1970-01-01T09:00:00'],
  ],
  [
    'a clock that is an hour off',
    { top: "<clock offset='utc' adjustment='3600'/>" },
    ['-rtc', 'base=1970-01-01T01:00:00'],
  ],
  [
    'ticks that are made up for',
    {
      top: "<clock offset='utc'><timer name='rtc' tickpolicy='catchup'><catchup slew='9'/></timer><timer name='pit' tickpolicy='catchup'/><timer name='hpet' tickpolicy='catchup'/></clock>",
    },
    ['-rtc', 'base=utc,driftfix=slew', '-boot'],
  ],
  [
    'limits that disks share',
    {
      devices: ['a', 'b']
        .map(
          (dev) =>
            `<disk><source file='/srv/${dev}'/><target dev='vd${dev}'/><iotune><total_bytes_sec>5</total_bytes_sec><group_name>x,y</group_name></iotune></disk>`,
        )
        .join(''),
    },
    [
      '-blockdev',
      '{"driver":"throttle","node-name":"virtio-disk1-throttle","throttle-group":"virtio-disk0-limits","file":"virtio-disk1-format"}',
    ],
  ],
  [
    'what a card does itself, and no firmware',
    {
      devices:
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><driver><host csum='off' gso='off' mrg_rxbuf='off'/><guest tso4='off'/></driver><rom enabled='no'/></interface>",
    },
    [
      '-device',
      '{"driver":"virtio-net-pci","csum":false,"gso":false,"mrg_rxbuf":false,"guest_tso4":false,"netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01","romfile":"","bus":"pci.0","addr":"0x2"}',
    ],
  ],
  [
    'the firmware of a card',
    {
      devices:
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/><rom bar='off' file='/srv/rom'/></interface>",
    },
    [
      '-device',
      '{"driver":"e1000","netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01","rombar":0,"romfile":"/srv/rom","bus":"pci.0","addr":"0x2"}',
    ],
  ],
  [
    "another vendor of the host's CPU",
    { top: "<cpu mode='host-model'><model vendor_id='Libvirt QEMU'/></cpu>" },
    ['-cpu', 'host,vendor=Libvirt QEMU'],
  ],
  [
    'the agent of SPICE',
    { devices: `${spice}<channel type='spicevmc'><target type='virtio'/></channel>` },
    [
      '-device',
      '{"driver":"virtserialport","bus":"virtio-serial0.0","nr":1,"chardev":"charchannel0","id":"channel0","name":"com.redhat.spice.0"}',
    ],
  ],
  [
    'a socket that nobody numbered',
    { devices: "<vsock><cid auto='yes'/></vsock>" },
    ['-device', '{"driver":"vhost-vsock-pci","id":"vsock0","guest-cid":3240307386,"bus":"pci.0","addr":"0x3"}'],
  ],
  [
    'enlightenments with parts',
    {
      features:
        "<hyperv><tlbflush state='on'><direct state='on'/><extended state='on'/></tlbflush><emsr_bitmap state='on'/><xmm_input state='off'/></hyperv>",
    },
    ['-cpu', 'qemu64,hv-tlbflush=on,hv-emsr-bitmap=on,hv-tlbflush-direct=on,hv-tlbflush-ext=on'],
  ],
  [
    'a ring of dirty pages',
    { features: "<kvm><dirty-ring state='on' size='4096'/></kvm>" },
    ['-accel', 'kvm,dirty-ring-size=4096'],
  ],
  ['every feature there is', { top: "<cpu mode='maximum' migratable='off'/>" }, ['-cpu', 'max,migratable=off']],
  [
    'another vendor',
    { top: "<cpu><model vendor_id='KVMKVMKVMKVM'>qemu64</model></cpu>" },
    ['-cpu', 'qemu64,vendor=KVMKVMKVMKVM'],
  ],
  [
    'memory in a file',
    { top: "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>" },
    [
      '-object',
      '{"qom-type":"memory-backend-memfd","id":"pc.ram","x-use-canonical-path-for-ramblock-id":false,"share":true,"size":67108864}',
    ],
  ],
  [
    'a drive with an open tray',
    { devices: "<disk type='file' device='cdrom'><source file='/srv/a.iso'/><target dev='hdc' tray='open'/></disk>" },
    ['-device', '{"driver":"ide-cd","bus":"ide.1","unit":0,"id":"ide0-1-0"}'],
  ],
  [
    'a cache for the tables of an image',
    {
      devices:
        "<disk><driver type='qcow2'><metadata_cache><max_size unit='KiB'>64</max_size></metadata_cache></driver><source file='/srv/a'/><target dev='vda'/></disk>",
    },
    [
      '-blockdev',
      '{"driver":"qcow2","node-name":"virtio-disk0-format","read-only":false,"cache-size":65536,"file":"virtio-disk0-storage"}',
    ],
  ],
  [
    'an image on a web server',
    {
      devices:
        "<disk type='network'><source protocol='http' name='a.img' query='x=1&amp;y=2'><host name='h'/><readahead size='1024'/><timeout seconds='9'/></source><target dev='vda'/><readonly/></disk>",
    },
    [
      '-blockdev',
      '{"driver":"http","url":"http://h:80/a.img?x=1&y=2","readahead":1024,"timeout":9,"node-name":"virtio-disk0-storage","auto-read-only":true,"read-only":true}',
    ],
  ],
  [
    'an image whose name would end a path',
    {
      devices:
        "<disk type='network'><source protocol='https' name='a b?c#d' query='x'><host name='h'/></source><target dev='vda'/></disk>",
    },
    [
      '-blockdev',
      '{"driver":"https","url":"https://h:443/a%20b%3Fc%23d?x","node-name":"virtio-disk0-storage","auto-read-only":true,"read-only":false}',
    ],
  ],
  [
    'how far its nodes are from each other, once all are there',
    {
      top: "<vcpu>2</vcpu><cpu><numa><cell id='0' cpus='0' memory='32' unit='MiB'><distances><sibling id='1' value='21'/></distances></cell><cell id='1' cpus='1' memory='32' unit='MiB'/></numa></cpu>",
    },
    [
      '-numa',
      'node,nodeid=1,cpus=1,memdev=ram-node1',
      '-numa',
      'dist,src=0,dst=0,val=10',
      '-numa',
      'dist,src=0,dst=1,val=21',
    ],
  ],
  [
    'memory that is a file',
    {
      top: "<maxMemory slots='2' unit='MiB'>256</maxMemory>",
      devices:
        "<memory model='nvdimm' access='shared'><source><path>/srv/nv</path><alignsize unit='KiB'>2048</alignsize></source><target><size unit='MiB'>32</size><label><size unit='KiB'>128</size></label><readonly/></target></memory>",
    },
    [
      '-object',
      '{"qom-type":"memory-backend-file","id":"memnvdimm0","mem-path":"/srv/nv","share":true,"size":33554432,"align":2097152,"readonly":true}',
      '-device',
      '{"driver":"nvdimm","label-size":131072,"unarmed":true,"memdev":"memnvdimm0","id":"nvdimm0","slot":0}',
    ],
  ],
  [
    'a network of its own',
    {
      devices:
        "<interface type='user'><mac address='52:54:00:00:00:01'/><ip family='ipv4' address='172.17.2.0' prefix='24'/><ip family='ipv6' address='fec0::'/></interface>",
    },
    ['-netdev', '{"type":"user","id":"hostnet0","net":"172.17.2.0/24","ipv6-prefix":"fec0::"}'],
  ],
  [
    'a network of one connection',
    { devices: "<interface type='client'><source address='127.0.0.1' port='5558'/></interface>" },
    ['-netdev', '{"type":"socket","id":"hostnet0","connect":"127.0.0.1:5558"}'],
  ],
  [
    'a network of datagrams',
    {
      devices:
        "<interface type='udp'><source address='127.0.0.1' port='1'><local address='127.0.0.1' port='2'/></source></interface>",
    },
    ['-netdev', '{"type":"socket","id":"hostnet0","udp":"127.0.0.1:1","localaddr":"127.0.0.1:2"}'],
  ],
  [
    'a tap that it makes itself',
    {
      devices:
        "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet0'/></interface>",
    },
    ['-netdev', '{"type":"tap","id":"hostnet0","ifname":"ferry7b81a0776","script":"no","downscript":"no"}'],
  ],
  [
    'a tap for a network, as for a bridge',
    {
      devices:
        "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/><target dev='vnet0'/></interface>",
    },
    ['-netdev', '{"type":"tap","id":"hostnet0","ifname":"ferry7b81a0776","script":"no","downscript":"no"}'],
  ],
  [
    'how much a tap holds back',
    { devices: "<interface type='ethernet'><target dev='tap7'/><tune><sndbuf>0</sndbuf></tune></interface>" },
    ['-netdev', '{"type":"tap","id":"hostnet0","ifname":"tap7","script":"no","downscript":"no","sndbuf":0}'],
  ],
  [
    'a tap that is named',
    { devices: "<interface type='ethernet'><target dev='tap7'/></interface>" },
    ['-netdev', '{"type":"tap","id":"hostnet0","ifname":"tap7","script":"no","downscript":"no"}'],
  ],
  [
    'a card that is plugged into nothing',
    { devices: "<interface type='null'><mac address='52:54:00:00:00:01'/></interface>" },
    ['-device', '{"driver":"rtl8139","id":"net0","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x2"}'],
  ],
  [
    'a TPM behind a socket',
    { devices: "<tpm><backend type='external'><source type='unix' mode='connect' path='/srv/tpm'/></backend></tpm>" },
    [
      '-chardev',
      'socket,id=chrtpm0,path=/srv/tpm',
      '-tpmdev',
      'emulator,id=tpm-tpm0,chardev=chrtpm0',
      '-device',
      '{"driver":"tpm-tis","tpmdev":"tpm-tpm0","id":"tpm0"}',
    ],
  ],
  [
    'a TPM of its own',
    { devices: "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" },
    [
      '-chardev',
      'socket,id=chrtpm0,path=/run/a/tpm.sock',
      '-tpmdev',
      'emulator,id=tpm-tpm0,chardev=chrtpm0',
      '-device',
      '{"driver":"tpm-crb","tpmdev":"tpm-tpm0","id":"tpm0"}',
    ],
  ],
  [
    'a directory behind a socket',
    {
      top: "<memoryBacking><source type='memfd'/></memoryBacking>",
      devices:
        "<filesystem><driver type='virtiofs' queue='1024'/><source socket='/srv/fs'/><target dir='tag'/></filesystem>",
    },
    [
      '-chardev',
      'socket,id=chr-vu-fs0,path=/srv/fs',
      '-device',
      '{"driver":"vhost-user-fs-pci","id":"fs0","chardev":"chr-vu-fs0","queue-size":1024,"tag":"tag","bus":"pci.0","addr":"0x2"}',
    ],
  ],
  [
    'a directory of its own',
    { devices: "<filesystem><source dir='/srv/d'/><target dir='tag'/><readonly/></filesystem>" },
    ['-fsdev', 'local,security_model=passthrough,id=fsdev-fs0,path=/srv/d,readonly=on'],
  ],
];

describe('QEMU is told of', () => {
  it.each(rows)('%s', (_, parts, options) => {
    const all = argumentsOf(parts);
    const at = all.findIndex((one, i) => one === options[0] && all[i + 1] === options[1]);
    expect(at < 0 ? all : all.slice(at, at + options.length)).toEqual(options);
  });
});
