import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import { sourceLabelsIn } from '../labels.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

/** Each security driver has one label, and of several each names its driver (virSecurityLabelDefsParseXML). */
export function checkLabels(document: DomainDocument, findings: Findings): void {
  const { seclabel } = document;
  // virSecurityDeviceLabelDefValidateXML
  for (const { path, label } of sourceLabelsIn(document.devices, '/domain/devices')) {
    const own = seclabel.find(({ model }) => model !== undefined && model === label.model);
    if (own === undefined || label.relabel === 'no' || isRelabelling(own)) continue;
    findings.report(
      'xml-invalid',
      path,
      `the domain's label of ${label.model} relabels nothing`,
      "Give it relabel='yes'",
    );
  }
  if (seclabel.length < 2) return;
  seclabel.forEach(({ model }, i) => {
    const path = pathOf('/domain', 'seclabel', seclabel.length, i);
    if (model === undefined)
      findings.report('xml-invalid', path, 'it names no model beside others', 'Add model to each of them');
    else if (seclabel.findIndex((other) => other.model === model) < i)
      findings.report('xml-invalid', `${path}/@model`, `${model} is given twice`, 'Remove one');
  });
}

const isRelabelling = ({ type, relabel }: DomainDocument['seclabel'][number]): boolean =>
  type === 'dynamic' || relabel === 'yes';
