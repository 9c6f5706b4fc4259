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
  command: AgentCommand = chosenCommand(),
): Program {
  return { ...command(side), env };
}

/** What `--bundle` of ./dev chooses. */
function chosenCommand(): AgentCommand {
  const directory = process.env['FERRY_BUNDLE'] ?? '';
  return directory === '' ? fromCheckout : fromBundle(directory);
}

/** An agent as users run it: from a directory that `./dev build` has made, started anywhere. */
export const fromBundle =
  (directory: string, node = process.execPath): AgentCommand =>
  (side) => ({ file: node, args: [join(directory, `${side}-agent.mjs`)], cwd: '/' });

function fromCheckout(side: Side): ReturnType<AgentCommand> {
  const cwd = join(workspace, 'services', `${side}-agent`);
  return { file: process.execPath, args: [join(cwd, 'src', 'main.ts')], cwd };
}
