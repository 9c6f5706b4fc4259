/** How the agents are started. */
import { join } from 'node:path';
import type { Side } from './agent-process.ts';
import type { Program } from './lab-process.ts';

/** The checkout that this file is part of. */
export const workspace = join(import.meta.dirname, '..', '..');

/** Another program in the place of an agent. */
export type AgentCommand = (side: Side) => { file: string; args: readonly string[]; cwd: string };

/** An agent from this checkout, run by the Node that runs us. */
export function agentProgram(
  side: Side,
  env: Readonly<Record<string, string>>,
  command: AgentCommand = fromCheckout,
): Program {
  return { ...command(side), env };
}

function fromCheckout(side: Side): ReturnType<AgentCommand> {
  const cwd = join(workspace, 'services', `${side}-agent`);
  return { file: process.execPath, args: [join(cwd, 'src', 'main.ts')], cwd };
}
