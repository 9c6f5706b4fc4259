import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** Each security driver has one label, and of several each names its driver (virSecurityLabelDefsParseXML). */
export function checkLabels({ seclabel }: DomainDocument, findings: Findings): void {
  if (seclabel.length < 2) return;
  seclabel.forEach(({ model }, i) => {
    const path = pathOf('/domain', 'seclabel', seclabel.length, i);
    if (model === undefined)
      findings.report('xml-invalid', path, 'it names no model beside others', 'Add model to each of them');
    else if (seclabel.findIndex((other) => other.model === model) < i)
      findings.report('xml-invalid', `${path}/@model`, `${model} is given twice`, 'Remove one');
  });
}
