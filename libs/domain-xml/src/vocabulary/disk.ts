import type { Of } from '../codec/element.ts';
import { choice, element, textElement } from '../codec/element-codec.ts';
import { attribute, attributeOr, child, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { oneOf, path, pattern } from '../codec/scalar.ts';
import { diskAddress } from './address.ts';
import { alias, boot, present } from './common.ts';

const target = element({
  dev: attribute(pattern(/^(vd|sd|hd)[a-z]{1,3}$/, 'a disk name like vda or sda', ['vda', 'sda'])),
  bus: optionalAttribute(oneOf('virtio', 'sata')),
});

/** A disk of the guest, in a file of the host. */
export const disk = choice('type', {
  file: element(
    {
      device: attributeOr(oneOf('disk'), 'disk'),
      driver: hostSide(
        optionalChild(
          element({
            name: attributeOr(oneOf('qemu'), 'qemu'),
            type: attributeOr(oneOf('raw', 'qcow2'), 'raw'),
            cache: optionalAttribute(oneOf('default', 'none', 'writethrough', 'writeback', 'directsync', 'unsafe')),
            io: optionalAttribute(oneOf('threads', 'native', 'io_uring')),
            discard: optionalAttribute(oneOf('ignore', 'unmap')),
          }),
        ),
      ),
      source: hostSide(child(element({ file: attribute(path) }))),
      target: child(target),
      readonly: optionalChild(present),
      shareable: optionalChild(present),
      serial: optionalChild(
        textElement(
          pattern(/^[A-Za-z0-9 _.+-]{1,36}$/, 'a serial number of letters, digits, space and _ . + -', ['WD-1']),
        ),
      ),
      boot: optionalChild(boot),
      alias: hostSide(optionalChild(alias)),
      address: optionalChild(diskAddress),
    },
    {
      check: ({ driver }, report) => {
        if (driver?.io === 'native' && driver.cache !== 'none' && driver.cache !== 'directsync') {
          report('xml-invalid', '/driver/@io', "io='native' needs a disk without host cache", "Add cache='none'");
        }
      },
    },
  ),
});

export type Disk = Of<typeof disk>;
