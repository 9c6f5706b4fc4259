import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { parseDomain } from './parse.ts';
import { hasPasswords, isLocked, withMaskedPasswords, withPasswordsOf } from './passwords.ts';
import { qemuArguments } from './qemu/arguments.ts';
import { startCommands } from './start-commands.ts';
import { refusalsOf } from './testing/refusals.ts';
import { writeDomain } from './write.ts';

const read = (...displays: string[]) =>
  completeDomain(
    parseDomain(
      `<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory><os><type machine='pc-q35-7.2'>hvm</type></os>
        <devices>${displays.map((each) => `<graphics ${each}/>`).join('')}</devices></domain>`,
      { allowedRoots: ['/'], maxBytes: 1 << 20 },
    ),
    { machineAliases: {} },
  );

describe("a display's password", () => {
  it('is told over the monitor and is no argument', () => {
    const domain = read(
      "type='vnc' passwd='s3cret'",
      "type='spice' passwd='other' passwdValidTo='2030-05-31T16:11:22' connected='fail'",
    );
    const text = qemuArguments(domain).join(' ');
    expect(text).toContain(',password=on');
    expect(text).not.toMatch(/disable-ticketing|s3cret|other/);
    const told = [
      { execute: 'set_password', arguments: { protocol: 'vnc', password: 's3cret' } },
      { execute: 'expire_password', arguments: { protocol: 'vnc', time: 'never' } },
      { execute: 'set_password', arguments: { protocol: 'spice', password: 'other', connected: 'fail' } },
      { execute: 'expire_password', arguments: { protocol: 'spice', time: '1906474282' } },
    ];
    expect([startCommands(domain, false), startCommands(domain, true)]).toEqual([told, told]);
  });

  it.each(['', '*****'])('that is %j locks the display: none is told', (passwd) => {
    const domain = read(`type='vnc' passwd='${passwd}'`);
    expect(qemuArguments(domain).join(' ')).toContain(',password=on');
    expect([hasPasswords(domain), isLocked(domain.devices.graphics[0] ?? { type: 'vnc', listen: [] })]).toEqual([
      false,
      true,
    ]);
    expect(startCommands(domain, false)).toEqual([]);
  });

  it('has no time and no way without one, as to libvirt', () => {
    const [display] = read("type='spice' passwdValidTo='not a time' connected='nonsense'").devices.graphics;
    expect(display).not.toHaveProperty('passwdValidTo');
    expect(display).not.toHaveProperty('connected');
  });

  it('is shown as libvirt shows it, and found again by the one who has it', () => {
    const domain = read("type='vnc' passwd='s3cret'", "type='spice'");
    const shown = withMaskedPasswords(domain);
    expect(writeDomain(shown)).toContain("passwd='*****'");
    expect(writeDomain(shown)).not.toContain('s3cret');
    expect(withPasswordsOf(shown, domain)).toEqual(domain);
  });

  it('of a document that has its own stays, and is of one kind of display', () => {
    const own = read("type='vnc' passwd='mine'");
    expect(withPasswordsOf(own, read("type='vnc' passwd='theirs'"))).toEqual(own);
    const other = read("type='spice' passwd='*****'");
    expect(withPasswordsOf(other, read("type='vnc' passwd='theirs'"))).toEqual(other);
  });

  it.each([
    ["<graphics type='vnc' passwd='123456789'/>", '/graphics/@passwd it has 9 bytes, of which vnc takes 8'],
    [
      `<graphics type='spice' passwd='${'x'.repeat(61)}'/>`,
      '/graphics/@passwd it has 61 bytes, of which spice takes 60',
    ],
    ["<graphics type='vnc' passwd='a' connected='fail'/>", '/graphics/@connected VNC keeps those connected'],
    ["<graphics type='vnc' passwd='a' passwdValidTo='soon'/>", '/graphics/@passwdValidTo it is no time'],
  ])('is refused without being shown: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));
});
