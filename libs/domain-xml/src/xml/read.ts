import { ParseOption, XmlDocument, XmlElement, XmlParseError, XmlText, XmlCData } from 'libxml2-wasm';
import { DomainXmlError } from '../errors.ts';
import { childSpans } from './spans.ts';

/** One element as the document gives it, detached from the parser's memory. */
export interface XmlNode {
  readonly name: string;
  /** Namespace URI; empty for libvirt's own elements. */
  readonly namespace: string;
  readonly line: number;
  /** Attributes without a namespace, and those with one under `{uri}name`. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly XmlNode[];
  /** All text directly in the element, as one string. */
  readonly text: string;
  /** The element as it stands in the source, for direct children of the root. */
  readonly source?: string;
}

export interface XmlSource {
  readonly root: XmlNode;
  /** Namespaces declared on the root: what foreign elements below it may rely on. */
  readonly namespaces: Readonly<Record<string, string>>;
}

const { XML_PARSE_NONET, XML_PARSE_NO_XXE, XML_PARSE_IGNORE_ENC } = ParseOption;
/** The text is a string already: an encoding named in it says how it once was written. */
// oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the flags are made to be joined
const parseOption: ParseOption = XML_PARSE_NONET | XML_PARSE_NO_XXE | XML_PARSE_IGNORE_ENC;

/** Deeper than any domain; libxml2's own limit is 256. */
const depthMax = 64;
/** A guest with a thousand devices has fewer. */
const elementsMax = 20_000;

/**
 * Parses a document from outside: without network, DTD, entities or inclusion, within `maxBytes`.
 * Throws DomainXmlError('xml-malformed').
 */
export function readXml(xml: string, maxBytes: number): XmlSource {
  const bytes = Buffer.byteLength(xml);
  if (bytes > maxBytes) {
    throw malformed('/', 0, `the document is ${bytes} bytes long`, `At most ${maxBytes} bytes are read`);
  }
  const document = parse(xml);
  try {
    // Never NOENT, DTDLOAD, HUGE or XInclude: a document that declares anything is refused as a whole.
    if (document.dtd !== null || /<!DOCTYPE/.test(beforeRoot(xml))) {
      throw malformed('/', 1, 'the document has a DOCTYPE', 'Remove it: entities and DTDs are not read');
    }
    const spans = childSpans(xml);
    let child = 0;
    let elements = 0;
    const toNode = (element: XmlElement, depth: number): XmlNode => {
      if (depth > depthMax) {
        throw malformed('/', element.line, `elements are nested more than ${depthMax} deep`, 'No domain needs that');
      }
      elements += 1;
      if (elements > elementsMax) {
        throw malformed(
          '/',
          element.line,
          `the document has more than ${elementsMax} elements`,
          'No domain needs that',
        );
      }
      const children: XmlNode[] = [];
      let text = '';
      const source = depth === 1 ? spans[child++] : undefined;
      for (let node = element.firstChild; node !== null; node = node.next) {
        if (node instanceof XmlElement) children.push(toNode(node, depth + 1));
        else if (node instanceof XmlText || node instanceof XmlCData) text += node.content;
      }
      return {
        name: element.name,
        namespace: element.namespaceUri,
        line: element.line,
        attributes: new Map(
          element.attrs.map((a) => [a.namespaceUri === '' ? a.name : `{${a.namespaceUri}}${a.name}`, a.value]),
        ),
        children,
        text,
        ...(source === undefined ? {} : { source }),
      };
    };
    return { root: toNode(document.root, 0), namespaces: { ...document.root.nsDeclarations } };
  } finally {
    document.dispose();
  }
}

function parse(xml: string): XmlDocument {
  try {
    return XmlDocument.fromString(xml, { option: parseOption });
  } catch (error) {
    if (!(error instanceof XmlParseError)) throw error;
    const first = error.details[0];
    const what = first?.message.trim() ?? 'it is empty or ends early';
    throw malformed('/', first?.line ?? 0, `this is not well-formed XML: ${what}`, 'Check it with xmllint', error);
  }
}

const beforeRoot = (xml: string): string => xml.slice(0, Math.max(0, xml.search(/<[A-Za-z_]/)));

function malformed(path: string, line: number, what: string, hint: string, cause?: unknown): DomainXmlError {
  return new DomainXmlError('xml-malformed', [{ path, line, what, hint }], cause === undefined ? {} : { cause });
}
