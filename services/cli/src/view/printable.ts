/** What comes from agents, QEMUs and records is shown, never obeyed: a name or a message may hold what moves a terminal's cursor, or text backwards. */

/** Control, format (direction, zero width), line separator, private use and half characters; a tab and the end of a line are ours. */
const unprintable = /[^\P{C}\t\n]|[\p{Zl}\p{Zp}]/gu;

/** The text with everything that a terminal would not show as written replaced by `\u{HEX}`. */
export const printable = (text: string): string =>
  text.replace(unprintable, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);

/** Writes text for a person on standard output. JSON and documents are data, and are written as they are. */
export const print = (text: string): void => void process.stdout.write(printable(text));

/** Likewise on standard error. */
export const printError = (text: string): void => void process.stderr.write(printable(text));
