/** Runs fake-agent.ts in the place of an agent. */
import { join } from 'node:path';
import type { AgentCommand } from '../program.ts';

export const fakeAgent: AgentCommand = () => ({
  file: process.execPath,
  args: [join(import.meta.dirname, 'fake-agent.ts')],
  cwd: import.meta.dirname,
});
