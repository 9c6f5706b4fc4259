import { randomUUID } from 'node:crypto';
import { notAllowed } from './added-arguments.ts';
import { findWhatIsBehind } from './behind.ts';
import { pathOf } from './codec/element-codec.ts';
import { Findings, noteLines, type XmlPolicy } from './codec/place.ts';
import { printable, shown } from './codec/scalar.ts';
import { type Domain, domainOf, type Kept, memoryOf } from './domain.ts';
import { checkDocument } from './rules/document.ts';
import { boardUuid } from './rules/smbios.ts';
import { document, type DomainDocument } from './vocabulary/domain.ts';
import { withoutGenerated } from './xml/generated.ts';
import { readXml, type XmlNode, type XmlSource } from './xml/read.ts';

/** Namespaces whose elements would change the machine: they are not kept as foreign, but refused. */
const notForeign = ['http://libvirt.org/schemas/domain/'];

/**
 * Reads a document from outside. A UUID is made up if it has none, as libvirt does.
 * Throws DomainXmlError: `xml-malformed`, or with everything that is wrong `xml-invalid` or (when all of it is merely unknown) `xml-unsupported`.
 */
export function parseDomain(xml: string, policy: XmlPolicy): Domain {
  const source = readXml(xml, policy.maxBytes);
  const findings = new Findings(policy);
  const { root } = source;
  if (root.name !== 'domain' || root.namespace !== '') {
    findings.visit(`/${root.name}`, root.line);
    findings.report(
      'xml-invalid',
      `/${root.name}`,
      `the document is a <${root.name}>`,
      'A domain is a <domain> element',
    );
    throw findings.error();
  }
  const isKept = (node: XmlNode) =>
    node.namespace === ''
      ? node.name === 'metadata'
      : !notForeign.some((uri) => node.namespace.startsWith(uri)) ||
        ((policy.addedArguments ?? 'refuse') !== 'refuse' && isCommandLine(node) && !isEmpty(node));
  const children = root.children.filter((node) => !isKept(node) && !(isOfQemu(node) && isEmpty(node)));
  const known = withoutGenerated({ ...root, children });
  refuseTooMany(known, findings);
  const value = withMemory(document.decode(known, '/domain', findings));
  const kept = keep(source, isKept, findings);
  if (value !== undefined) checkDocument(value, findings);
  if (value === undefined && !findings.full) findWhatIsBehind(known, findings, (rest) => readAgain(rest, policy));
  if (findings.problems.length > 0 || value === undefined) throw findings.error();
  noteLines(kept, findings.lines);
  const genid = value.genid && { value: value.genid.value ?? randomUUID() };
  const uuid = value.uuid ?? boardUuid(value) ?? randomUUID();
  return domainOf({ ...value, uuid, ...(genid === undefined ? {} : { genid }) }, kept);
}

/** More than QEMU has places for, on whatever bus: what is found out of each device with all others costs the square of their number. */
const devicesMax = 1024;

function refuseTooMany(root: XmlNode, findings: Findings): void {
  for (const list of root.children.filter((child) => child.name === 'devices')) {
    if (list.children.length <= devicesMax) continue;
    findings.visit('/domain/devices', list.line);
    const what = `there are ${list.children.length} devices`;
    findings.report('xml-invalid', '/domain/devices', what, `At most ${devicesMax} are read`);
    throw findings.error();
  }
}

/** A document that gives no memory has that of its NUMA nodes and modules. */
function withMemory(value: DomainDocument | undefined): DomainDocument | undefined {
  if (value === undefined || value.memory.kib > 0) return value;
  return { ...value, memory: { ...value.memory, kib: memoryOf(value) } };
}

function readAgain(rest: XmlNode, policy: XmlPolicy): Findings {
  const findings = new Findings(policy);
  const value = withMemory(document.decode(rest, '/domain', findings));
  if (value !== undefined) checkDocument(value, findings);
  return findings;
}

const commandLine = 'http://libvirt.org/schemas/domain/qemu/1.0';
const isOfQemu = (node: XmlNode): boolean => node.namespace === commandLine;
const isCommandLine = (node: XmlNode): boolean => isOfQemu(node) && node.name === 'commandline';
/** Says nothing: libvirt does not write it back. */
const isEmpty = ({ children, text }: XmlNode): boolean => children.length === 0 && text.trim() === '';

/** Arguments for QEMU as they are; its environment is not the document's to change. */
function readArguments(node: XmlNode, findings: Findings): string[] {
  return node.children.flatMap((child, i) => {
    const path = pathOf('/domain/qemu:commandline', `qemu:${child.name}`, node.children.length, i);
    findings.visit(path, child.line);
    const value = child.attributes.get('value');
    if (child.namespace === commandLine && child.name === 'arg' && child.attributes.size === 1 && value !== undefined) {
      const decoded = printable.decode(value, findings.policy);
      if ('value' in decoded) return [decoded.value];
      findings.report(decoded.kind, `${path}/@value`, decoded.wrong, decoded.hint);
      return [];
    }
    findings.report('xml-unsupported', path, 'it is not <qemu:arg value=…>', 'Only arguments can be added');
    return [];
  });
}

/** Those of all elements together, which is how QEMU gets them. */
function refuseNotAllowed(args: readonly string[], from: readonly XmlNode[], findings: Findings): void {
  const { addedArguments: rules = 'refuse' } = findings.policy;
  if (typeof rules === 'string' || findings.problems.length > 0) return;
  const refused = notAllowed(args, rules);
  if (refused === undefined) return;
  const path = pathOf('/domain/qemu:commandline', 'qemu:arg', args.length, refused.at);
  findings.visit(path, from[0]?.line ?? 0);
  const hint = 'Remove it, or add a line for it to the file that FERRY_QEMU_COMMANDLINE names';
  findings.report('xml-unsupported', path, `this host does not allow ${shown(refused.words)}`, hint);
}

function keep({ root, namespaces }: XmlSource, isKept: (node: XmlNode) => boolean, findings: Findings): Kept {
  const nodes = root.children.filter(isKept);
  const metadata = nodes.filter((node) => node.name === 'metadata' && node.namespace === '');
  metadata.slice(1).forEach((node, i) => {
    const path = pathOf('/domain', 'metadata', metadata.length, i + 1);
    findings.visit(path, node.line);
    findings.report('xml-invalid', path, '<metadata> is given twice', 'Put everything into one');
  });
  const commandLines = nodes.filter(isCommandLine);
  const qemuArguments = commandLines.flatMap((node) => readArguments(node, findings));
  refuseNotAllowed(qemuArguments, commandLines, findings);
  return { elements: nodes.map((node) => ({ name: node.name, source: node.source ?? '' })), namespaces, qemuArguments };
}
