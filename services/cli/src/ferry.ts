/** `ferry`: the command line, and the reference controller. Ends with an exit status that scripts can use; see exit-status.ts. */
import { CommanderError } from 'commander';
import { CliError } from './cli-error.ts';
import { exitStatus } from './exit-status.ts';
import { ferryProgram } from './program.ts';
import { printError } from './view/printable.ts';

// gRPC gives TLS an agent's IP address as server name, of which Node warns on stderr; the certificate's IP address is what is checked.
process.noDeprecation = true;

// `ferry list | head -1`: whoever reads has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(128 + 13);
});

async function run(argv: readonly string[]): Promise<number> {
  try {
    await ferryProgram().parseAsync(argv, { from: 'user' });
    return exitStatus.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.ok : exitStatus.usage;
    if (!(error instanceof CliError)) throw error;
    if (error.told) return error.exitStatus;
    // Only here: it needs the wire's types, and commands that ask nobody start without them.
    const { errorObject, explain } = await import('./failure.ts');
    if (argv.includes('--json')) process.stdout.write(`${JSON.stringify(errorObject(error))}\n`);
    else printError(explain(error));
    return error.exitStatus;
  }
}

const status = await run(process.argv.slice(2));
process.exitCode = status;
// Calls that we have left go on in the agents, and must not keep us: once what we said has been read, we are gone.
process.stdout.write('', () => process.exit(status));
