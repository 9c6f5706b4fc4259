import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const card = (model: string, more = '') => `<video>${more}<model ${model}/></video>`;
const place = "<address type='pci' slot='9'/>";

describe('what shows or plays something', () => {
  it.each([
    [card("type='vga' ram='65536'"), '/video/model/@ram a vga has no ram'],
    [card("type='qxl' edid='off'"), '/video/model/@edid a qxl has no edid'],
    [card("type='vga' blob='on'"), '/video/model/@blob a vga has no blob'],
    [
      "<video><model type='cirrus'><resolution x='800' y='600'/></model></video>",
      '/video/model/resolution a cirrus has no resolution',
    ],
    [card("type='qxl' vgamem='10000'"), '/video/model/@vgamem 10000 is not a power of two from 1024'],
    [card("type='vga' vram='512'"), '/video/model/@vram 512 KiB are less than 1 MiB'],
    [card("type='ramfb'", place), '/video/address a ramfb is on no bus'],
    [card("type='vga'", "<driver ats='on'/>"), '/video/driver a vga is no virtio card'],
    [card("type='qxl' primary='yes'").repeat(2), '/video[2]/model/@primary two cards are the first'],
    ["<sound model='ac97' streams='2'/>", '/sound/@streams a ac97 has no streams'],
    ["<sound model='ich6' multichannel='yes'/>", '/sound/@multichannel a ich6 has no multichannel'],
    ["<input type='mouse' bus='usb' model='virtio'/>", '/input/@model an input on usb has no model'],
    ["<input type='mouse' bus='usb'><driver iommu='on'/></input>", '/input/driver an input on usb is no virtio device'],
    [
      "<graphics type='vnc'><listen type='none'/><listen type='address'/></graphics>",
      '/graphics/listen[2] QEMU listens in one place',
    ],
    [
      "<graphics type='vnc' listen='::1'><listen type='address' address='127.0.0.1'/></graphics>",
      '/graphics/@listen <listen> says 127.0.0.1',
    ],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));

  it.each([
    card("type='cirrus' vram='16384' heads='1'"),
    card("type='qxl' ram='65536' vram='65536' vgamem='16384' vram64='0'"),
    card("type='virtio' blob='on' edid='off'", "<driver ats='on'/>"),
    "<graphics type='vnc' listen='::1'><listen type='address' address='::1'/></graphics>",
  ])('is not: %s', (devices) => expect(refusalsOf(devices)).toEqual([]));
});

describe('what virt-install writes', () => {
  it.each([
    "<graphics type='spice' port='-1' tlsPort='-1' autoport='yes'/>",
    "<graphics type='spice' port='-1' tlsPort='-1'/>",
    "<graphics type='spice' autoport='yes' tlsPort='0'><gl enable='no'/></graphics>",
  ])('%s is a display without TLS', (display) => expect(refusalsOf(display)).toEqual([]));
  it('a chosen port for TLS beside a given one is refused', () =>
    expect(refusalsOf("<graphics type='spice' port='5900' tlsPort='-1'/>")).toHaveLength(1));
  it('drawing with the host is refused', () =>
    expect(refusalsOf("<graphics type='spice'><gl enable='yes'/></graphics>")).toHaveLength(1));
  it('an empty serial number is none', () =>
    expect(
      refusalsOf("<disk type='file'><source file='/a'/><target dev='vda'/><serial/></disk>", {
        more: "<uuid/><clock offset='utc'><timer name='rtc' present='no'/></clock>",
      }),
    ).toEqual([]));
});
