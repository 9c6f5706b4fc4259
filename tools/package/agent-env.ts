/** The configuration file of a package: every variable of docs/operations.md, which a test holds against the code, with its default and meaning. */
const columnsMax = 100;

/** Its text, from the page. */
export function agentEnv(operations: string): string {
  const table = operations.split('\n## Environment\n')[1]?.split('\n## ')[0] ?? '';
  const rows = table.split('\n').filter((line) => line.startsWith('| `FERRY_'));
  if (rows.length === 0) throw new Error('docs/operations.md has no table of variables under "Environment"');
  const entries = rows.map((row) => {
    const [names = '', otherwise = '', ...meaning] = row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim());
    const value = /^`([^`]*)`$/.exec(otherwise)?.[1];
    const note = value === undefined && otherwise !== '–' ? ` (${plain(otherwise)})` : '';
    const lines = [...names.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => `#${name}=${value ?? ''}`);
    return `${wrapped(`${plain(meaning.join('|'))}${note}`)}\n${lines.join('\n')}\n`;
  });
  return `${head}\n${entries.join('\n')}`;
}

const head = `# Both agents of this host read this file when they start; the lines of source-agent.env and dest-agent.env beside it, where they are, count for one of
# them alone. What has a # before it has its default. The units set FERRY_LISTEN:
# [::]:7101 for the source agent, [::]:7102 for the destination agent. To try what is written here: ferry-agent check-config
`;

/** Without markdown. */
const plain = (text: string): string =>
  text
    .replaceAll(/\[([^\]]+)\]\([^)]*\)/g, '$1')
    .replaceAll('`', '')
    .trim();

/** As comment lines. */
function wrapped(text: string): string {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(/\s+/)) {
    if (line.length + word.length + 1 > columnsMax) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line].join('\n');
}
