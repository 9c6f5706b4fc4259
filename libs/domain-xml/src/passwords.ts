/** The passwords of displays: in the documents that a host keeps and in a cookie, and in no other. */
import type { Domain } from './domain.ts';
import { maskedPassword } from './vocabulary/display-password.ts';

type Graphics = Domain['devices']['graphics'][number];

/** The password that a display has, where the document tells it. */
export function knownPassword({ passwd }: Graphics): string | undefined {
  return passwd === undefined || passwd === '' || passwd === maskedPassword ? undefined : passwd;
}

/** Whether a display wants a password that the document does not tell: until it is started with one, no client gets in. */
export const isLocked = (display: Graphics): boolean =>
  display.passwd !== undefined && knownPassword(display) === undefined;

export const hasPasswords = ({ devices }: Domain): boolean =>
  devices.graphics.some((display) => knownPassword(display) !== undefined);

/** The domain as it may be shown: as libvirt shows it, with stars. */
export const withMaskedPasswords = (domain: Domain): Domain =>
  withGraphics(domain, (display) =>
    knownPassword(display) === undefined ? display : { ...display, passwd: maskedPassword },
  );

/** The domain with the passwords that its guest has elsewhere: each display that the document gives stars, or nothing, of the same kind and place. */
export const withPasswordsOf = (domain: Domain, running: Domain): Domain =>
  withGraphics(domain, (display, i) => {
    const there = running.devices.graphics[i];
    const passwd = there?.type === display.type ? knownPassword(there) : undefined;
    const { passwdValidTo, connected } = there ?? {};
    if (passwd === undefined || knownPassword(display) !== undefined) return display;
    return {
      ...display,
      passwd,
      ...(passwdValidTo === undefined ? {} : { passwdValidTo }),
      ...(connected === undefined ? {} : { connected }),
    };
  });

function withGraphics(domain: Domain, change: (display: Graphics, i: number) => Graphics): Domain {
  const devices = { ...domain.devices, graphics: domain.devices.graphics.map(change) };
  return { ...domain, devices, document: { ...domain.document, devices } };
}
