/** The command line's words: every command, its options, and what runs it. */
import { Command, Option } from 'commander';
import { adopt, change, destroy, dumpXml, get, list, start, where } from './commands/domains.ts';
import { guest } from './commands/guest.ts';
import { abort, migrate, watch } from './commands/migrate.ts';
import { exitStatusHelp } from './exit-status.ts';
import { Hosts, labDirectory } from './hosts.ts';
import { parseBytes, parseMilliseconds, parseUuid } from './quantities.ts';

interface GlobalOptions {
  readonly hostsFile?: string;
  readonly json?: boolean;
}

/** Builds the program; running it throws commander's CommanderError or a CliError. */
export function ferryProgram(): Command {
  const program = new Command('ferry')
    .description('Moves running virtual machines between hosts.')
    .option('--hosts-file <file>', 'hosts and certificates (else FERRY_HOSTS, else those of `./dev lab up`)')
    .option('--json', 'one JSON object a line, for scripts')
    .addHelpText('after', exitStatusHelp)
    .showHelpAfterError('(ferry --help lists the commands)')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });

  domainCommands(program);
  migrationCommands(program);
  program
    .command('guest <name>')
    .description('print a document of the tiny test guest, for `ferry start`')
    .option('--dirty <bytes>', 'its working set', '64M')
    .option('--rate <bytes>', 'how much of it is overwritten each second', '100M')
    .option('--tick <ms>', 'time between two lines of output', '10')
    .option('--memory <MiB>', 'its memory', '256')
    .option('--console <file>', "where its output goes (else NAME.console in the lab's directory)")
    .action((name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof guest>[1]>();
      return guest(name, options, () => labDirectory(options.hostsFile));
    });
  return program;
}

/** Runs `act` with the hosts, and closes the connections. */
async function withHosts(options: GlobalOptions, act: (hosts: Hosts) => Promise<void>): Promise<void> {
  using hosts = Hosts.read(options.hostsFile);
  await act(hosts);
}

const hostOption = (): Option =>
  new Option('--host <host>', 'the host that is meant (else the one that has the guest)');
const onHost = (): Option => new Option('--host <host>', 'the host').makeOptionMandatory();

function domainCommands(program: Command): void {
  program
    .command('start <file>')
    .description("start a domain from a libvirt XML document ('-': stdin)")
    .addOption(onHost())
    .option('--paused', "leave the guest's CPUs stopped")
    .action((file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof start>[2]>();
      return withHosts(options, (hosts) => start(hosts, file, options));
    });
  program
    .command('adopt <file>')
    .description('take over a QEMU that somebody else started, described by a document')
    .addOption(onHost())
    .requiredOption('--monitor <socket>', 'a QMP monitor of it that nobody else uses')
    .action((file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof adopt>[2]>();
      return withHosts(options, (hosts) => adopt(hosts, file, options));
    });
  program
    .command('list')
    .description('list the domains of all hosts, or of one')
    .addOption(new Option('--host <host>', 'of this host alone'))
    .action((_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof list>[1]>();
      return withHosts(options, (hosts) => list(hosts, options));
    });
  program
    .command('where <domain>')
    .description('say which host has a guest; asks all of them')
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof where>[2]>();
      return withHosts(options, (hosts) => where(hosts, domain, options));
    });
  const onDomain = (
    name: string,
    description: string,
    act: (hosts: Hosts, domain: string, options: Parameters<typeof get>[2]) => Promise<void>,
  ) =>
    program
      .command(`${name} <domain>`)
      .description(description)
      .addOption(hostOption())
      .action((domain: string, _: unknown, command: Command) => {
        const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof get>[2]>();
        return withHosts(options, (hosts) => act(hosts, domain, options));
      });
  onDomain('get', 'show a domain', get);
  onDomain('dumpxml', "print a domain's document, completed", dumpXml);
  onDomain('suspend', "pause a guest's CPUs", (...args) => change('suspend', ...args));
  onDomain('resume', "let a guest's CPUs go on", (...args) => change('resume', ...args));
  onDomain('shutdown', 'ask a guest to shut down (ACPI power button)', (...args) => change('shutdown', ...args));
  onDomain('destroy', "end a guest's QEMU at once", destroy);
}

function migrationCommands(program: Command): void {
  program
    .command('migrate <domain>')
    .description('move a running guest to another host; Ctrl-C asks to abort, a second one leaves it going')
    .requiredOption('--from <host>', 'the host that has it')
    .requiredOption('--to <host>', 'the host that gets it')
    .option('--v2', 'protocol version 2: no cookies, no Confirm')
    .option('--direct', 'drive the protocol from here, one RPC at a time; else the source agent does (peer to peer)')
    .addOption(new Option('--bandwidth <bytes>', 'limit of memory traffic a second, like 100M').argParser(parseBytes))
    .addOption(new Option('--downtime <time>', 'how long the guest may pause, like 300ms').argParser(parseMilliseconds))
    .addOption(
      new Option('--id <uuid>', 'the migration id; the same one again is the same migration').argParser(parseUuid),
    )
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof migrate>[2]>();
      return withHosts(options, (hosts) => migrate(hosts, domain, options));
    });
  program
    .command('watch')
    .description('follow a migration to its end')
    .argument('<id>', 'the migration id', parseUuid)
    .addOption(new Option('--host <host>', 'its source (else all hosts are asked)'))
    .action((id: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof watch>[2]>();
      return withHosts(options, (hosts) => watch(hosts, id, options));
    });
  program
    .command('abort')
    .description('ask for a migration to be given up')
    .argument('<id>', 'the migration id', parseUuid)
    .addOption(new Option('--host <host>', 'its source (else all hosts are asked)'))
    .action((id: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & Parameters<typeof abort>[2]>();
      return withHosts(options, (hosts) => abort(hosts, id, options));
    });
}
