import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** Boot order is given once: by the devices or by `<os>`. */
export function checkBooting({ os, devices }: DomainDocument, findings: Findings): void {
  const ordered = [...devices.disk, ...devices.interface, ...devices.redirdev].flatMap(({ boot }) =>
    boot === undefined ? [] : [boot.order],
  );
  if (ordered.length > 0 && os.boot.length > 0) {
    findings.report('xml-invalid', '/domain/os/boot', 'devices have a boot order too', 'Give one of the two');
  }
  const twice = ordered.find((order, i) => ordered.indexOf(order) !== i);
  if (twice !== undefined) {
    findings.report(
      'xml-invalid',
      '/domain/devices',
      `two devices have boot order ${twice}`,
      'Number them differently',
    );
  }
  const kinds = os.boot.map(({ dev }) => dev);
  if (new Set(kinds).size < kinds.length) {
    findings.report('xml-invalid', '/domain/os/boot', 'a kind of device is given twice', 'Give each once');
  }
}
