/** An element to be written. */
export interface XmlOut {
  readonly name: string;
  readonly attributes: readonly (readonly [string, string])[];
  readonly children: readonly XmlOut[];
  readonly text?: string;
  /** Everything in it was left out: it may be left out itself. */
  readonly hollow?: boolean;
  /** Written as it is, instead of everything else. */
  readonly source?: string;
}

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
  '\n': '&#10;',
  '\r': '&#13;',
  '\t': '&#9;',
};
const inText = (value: string): string => value.replace(/[&<>\r]/g, (c) => escapes[c] ?? c);
const inAttribute = (value: string): string => value.replace(/[&<>'"\n\r\t]/g, (c) => escapes[c] ?? c);

/** The element as libvirt lays it out: two spaces, single quotes. */
export function writeXml(element: XmlOut, indent = ''): string {
  if (element.source !== undefined) return `${indent}${element.source}\n`;
  const open = `${indent}<${element.name}${element.attributes.map(([k, v]) => ` ${k}='${inAttribute(v)}'`).join('')}`;
  if (element.children.length > 0) {
    const inner = element.children.map((child) => writeXml(child, `${indent}  `)).join('');
    return `${open}>\n${inner}${indent}</${element.name}>\n`;
  }
  if (element.text === undefined || element.text === '') return `${open}/>\n`;
  return `${open}>${inText(element.text)}</${element.name}>\n`;
}
