import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const disk = (target: string, more = '', device = 'disk', type = 'raw') =>
  `<disk device='${device}'><driver type='${type}'/><source file='/a'/><target ${target}/>${more}</disk>`;
const place = (words: string) => `<address type='drive' ${words}/>`;

describe('a drive whose controller has no such place', () => {
  it.each([
    [disk("dev='hda'", place("unit='2'")), '/disk/address/@unit ide has no unit 2'],
    [disk("dev='sda' bus='sata'", place("bus='1'")), '/disk/address/@bus sata has no bus 1'],
    [disk("dev='sda' bus='sata'", place("unit='6'")), '/disk/address/@unit sata has no unit 6'],
    [disk("dev='fda'", place("target='1'"), 'floppy'), '/disk/address/@target fdc has no target 1'],
    [disk("dev='sda'", place("target='1'")), '/disk/address/@target lsilogic has no target 1'],
    [
      `${disk("dev='sdb'")}<controller type='scsi' index='0' model='vmpvscsi'/>`,
      '/disk/target/@dev vmpvscsi has no unit 1',
    ],
    [`${disk("dev='sdb'")}<controller type='scsi' model='vmpvscsi'/>`, '/disk/address/@unit vmpvscsi has no unit 1'],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));

  it('is not one on a controller that has', () => {
    const far = disk("dev='sda'", place("target='200' unit='300'"));
    expect(refusalsOf(`${far}<controller type='scsi' index='0' model='virtio-scsi'/>`)).toEqual([]);
    expect(refusalsOf(`${far}<controller type='scsi' model='virtio-scsi'/>`)).toEqual([]);
  });
});

describe('a disk that says of itself what QEMU would not show', () => {
  const geometry = "<geometry cyls='8' heads='2' secs='4' trans='lba'/>";
  it.each([
    [disk("dev='vda'", '<vendor>A</vendor>'), '/disk/vendor a disk on virtio has no vendor'],
    [disk("dev='vda'", '<wwn>5000c50015ea71ad</wwn>'), '/disk/wwn a disk on virtio has no wwn'],
    [disk("dev='vda'", geometry), '/disk/geometry/@trans a disk on virtio has no trans'],
    [disk("dev='sda' bus='usb'", geometry), '/disk/geometry a disk on usb has no geometry'],
    [disk("dev='hda'", geometry, 'cdrom'), '/disk/geometry a cdrom has no geometry'],
    [disk("dev='vda' rotation_rate='1'"), '/disk/target/@rotation_rate a disk on virtio has no rotation_rate'],
    [disk("dev='vda' tray='open'"), '/disk/target/@tray a disk has no tray'],
    [disk("dev='hda'", '<readonly/>'), '/disk/readonly a disk on ide can be written to'],
    [disk("dev='vda'", '<shareable/>', 'disk', 'qcow2'), '/disk/shareable two guests cannot write to one qcow2 image'],
    [disk("dev='fda' bus='virtio'"), '/disk/target/@dev a disk is not called fda'],
    ["<disk device='cdrom'><target dev='sda' bus='usb'/></disk>", '/disk it is empty, and USB has no drives for media'],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));

  it.each([
    disk("dev='hda'", geometry),
    disk("dev='vda'", '<readonly/><shareable/>', 'disk', 'qcow2'),
    disk("dev='hda' rotation_rate='7200'", '<wwn>5000c50015ea71ad</wwn>'),
  ])('is not one that QEMU shows: %s', (devices) => expect(refusalsOf(devices)).toEqual([]));
});

describe('a source that names nothing', () => {
  const empty = (source: string, device: string) =>
    `<disk type='file' device='${device}'>${source}<target dev='sda' bus='sata'/></disk>`;
  it.each(["<source file=''/>", '<source/>', "<source index='1'/>"])('%s is a drive without a medium', (source) =>
    expect(refusalsOf(empty(source, 'cdrom'), { machine: 'q35' })).toEqual([]),
  );
  it('is refused of a disk', () =>
    expect(refusalsOf(empty("<source file=''/>", 'disk'), { machine: 'q35' })).toEqual(['/disk it has no source']));
});
