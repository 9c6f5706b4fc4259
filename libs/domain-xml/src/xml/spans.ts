/** Whatever can stand between two pieces of text; alternatives in the order XML wants them tried. */
const markup =
  /<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>|<\?[\s\S]*?\?>|<(?<close>\/)?[^\s"'<>/](?:[^"'<>/]|"[^"]*"|'[^']*'|\/(?!>))*(?<empty>\/)?>/g;

/**
 * The source text of each direct child of the root, byte for byte: what a parser gives back has other quotes, entities and
 * line ends, and `<metadata>` is not ours to change. The document is known to be well-formed and to have no DTD.
 */
export function childSpans(xml: string): string[] {
  const spans: string[] = [];
  let depth = 0;
  let start = 0;
  for (const match of xml.matchAll(markup)) {
    const { close, empty } = match.groups ?? {};
    if (match[0].startsWith('<!') || match[0].startsWith('<?')) continue;
    if (close === undefined) {
      if (depth === 1) start = match.index;
      depth += 1;
    }
    if (close !== undefined || empty !== undefined) {
      depth -= 1;
      if (depth === 1) spans.push(xml.slice(start, match.index + match[0].length));
    }
  }
  return spans;
}
