/**
 * The command line's words: every command, its options, and what runs it. What runs it is loaded when it is asked for: most of it needs
 * gRPC, `ferry xml` does not.
 */
import { build } from '@ferry/migration';
import { Command, Option } from 'commander';
import type { CheckOptions } from './commands/check.ts';
import type { DomainOptions } from './commands/domains.ts';
import type { GuestCommandOptions } from './commands/guest.ts';
import type { MigrateOptions } from './commands/migrate.ts';
import type { ResolveOptions } from './commands/resolve.ts';
import type { XmlOptions } from './commands/xml.ts';
import { exitStatusHelp } from './exit-status.ts';
import type { Hosts } from './hosts.ts';
import { parseBytes, parseMilliseconds, parseUuid } from './quantities.ts';

interface GlobalOptions {
  readonly hostsFile?: string;
  readonly json?: boolean;
}

/** Builds the program; running it throws commander's CommanderError or a CliError. */
export function ferryProgram(): Command {
  const program = new Command('ferry')
    .description('Moves running virtual machines between hosts.')
    .version(`${build.version} (${build.commit})`)
    .option('--hosts-file <file>', 'hosts and certificates (else FERRY_HOSTS, else those of `./dev lab up`)')
    .option('--json', 'one JSON object a line, for scripts')
    .addHelpText('after', exitStatusHelp)
    .showHelpAfterError('(ferry --help lists the commands)')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });

  domainCommands(program);
  migrationCommands(program);
  resolveCommand(program);
  documentCommands(program);
  program
    .command('guest <name>')
    .description('print a document of the tiny test guest, for `ferry start`')
    .option('--dirty <bytes>', 'its working set', '64M')
    .option('--rate <bytes>', 'how much of it is overwritten each second', '100M')
    .option('--tick <ms>', 'time between two lines of output', '10')
    .option('--memory <MiB>', 'its memory', '256')
    .option('--console <file>', "where its output goes (else NAME.console in the lab's directory)")
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & GuestCommandOptions>();
      const [{ guest }, { labDirectory }] = await Promise.all([import('./commands/guest.ts'), import('./hosts.ts')]);
      return guest(name, options, () => labDirectory(options.hostsFile));
    });
  return program;
}

/** Runs `act` with the hosts, and closes the connections. */
async function withHosts(options: GlobalOptions, act: (hosts: Hosts) => Promise<void>): Promise<void> {
  const loaded = await import('./hosts.ts');
  using hosts = loaded.Hosts.read(options.hostsFile);
  await act(hosts);
}

const domains = () => import('./commands/domains.ts');
const ownership = () => import('./commands/where.ts');
const migrations = () => import('./commands/migrate.ts');

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
      const options = command.optsWithGlobals<GlobalOptions & { host: string; paused?: boolean }>();
      return withHosts(options, async (hosts) => (await domains()).start(hosts, file, options));
    });
  program
    .command('adopt <file>')
    .description('take over a QEMU that somebody else started, described by a document')
    .addOption(onHost())
    .requiredOption('--monitor <socket>', 'a QMP monitor of it that nobody else uses')
    .action((file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { host: string; monitor: string }>();
      return withHosts(options, async (hosts) => (await domains()).adopt(hosts, file, options));
    });
  program
    .command('list')
    .description('list the domains of all hosts, or of one')
    .addOption(new Option('--host <host>', 'of this host alone'))
    .action((_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
      return withHosts(options, async (hosts) => (await domains()).list(hosts, options));
    });
  program
    .command('where <domain>')
    .description('say which host has a guest, and which owns it; asks all of them')
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
      return withHosts(options, async (hosts) => (await ownership()).where(hosts, domain, options));
    });
  program
    .command('history <domain>')
    .description("list a domain's migrations of the last 7 days, both halves of each, with how they ended and why")
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
      return withHosts(options, async (hosts) => (await ownership()).history(hosts, domain, options));
    });
  program
    .command('forget <domain>')
    .description(
      'say that a host which owns a guest is gone for good, so that another may start it; make sure that it is off',
    )
    .addOption(new Option('--host <host>', 'the host that is gone').makeOptionMandatory())
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions & { host: string }>();
      return withHosts(options, async (hosts) => (await ownership()).forget(hosts, domain, options));
    });
  program
    .command('forget-host <host>')
    .description('say that a host is gone for good, so that another may have its name; make sure that it is off')
    .action((host: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      return withHosts(options, async (hosts) => (await ownership()).forgetHost(hosts, host, options));
    });
  const onDomain = (
    name: string,
    description: string,
    act: (hosts: Hosts, domain: string, options: DomainOptions) => Promise<void>,
  ) =>
    program
      .command(`${name} <domain>`)
      .description(description)
      .addOption(hostOption())
      .action((domain: string, _: unknown, command: Command) => {
        const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
        return withHosts(options, (hosts) => act(hosts, domain, options));
      });
  const changing =
    (what: 'suspend' | 'resume' | 'shutdown') => async (hosts: Hosts, domain: string, options: DomainOptions) =>
      (await domains()).change(what, hosts, domain, options);
  onDomain('get', 'show a domain', async (...args) => (await domains()).get(...args));
  onDomain('dumpxml', "print a domain's document, completed", async (...args) => (await domains()).dumpXml(...args));
  onDomain('suspend', "pause a guest's CPUs", changing('suspend'));
  onDomain('resume', "let a guest's CPUs go on", changing('resume'));
  onDomain('shutdown', 'ask a guest to shut down (ACPI power button)', changing('shutdown'));
  onDomain('destroy', "end a guest's QEMU at once", async (...args) => (await domains()).destroy(...args));
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
    .option('--xml <file>', "a document for the destination ('-': stdin): what only the host sees may differ")
    .option('--tls', 'encrypt the guest’s memory with both hosts’ certificates (v3 without it: with a key of its own)')
    .option('--no-tls', 'send the guest’s memory in the clear')
    .option('--unsafe', 'migrate although the guest or its data might come to harm (see `ferry check`)')
    .action((domain: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & MigrateOptions>();
      return withHosts(options, async (hosts) => (await migrations()).migrate(hosts, domain, options));
    });
  program
    .command('watch')
    .description('follow a migration to its end')
    .argument('<id>', 'the migration id', parseUuid)
    .addOption(new Option('--host <host>', 'its source (else all hosts are asked)'))
    .action((id: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
      return withHosts(options, async (hosts) => (await migrations()).watch(hosts, id, options));
    });
  program
    .command('abort')
    .description('ask for a migration to be given up')
    .argument('<id>', 'the migration id', parseUuid)
    .addOption(new Option('--host <host>', 'its source (else all hosts are asked)'))
    .action((id: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DomainOptions>();
      return withHosts(options, async (hosts) => (await migrations()).abort(hosts, id, options));
    });
}

function resolveCommand(program: Command): void {
  program
    .command('resolve')
    .description('settle a migration in doubt whose other host is gone for good; make sure that it is off')
    .argument('<id>', 'the migration id', parseUuid)
    .requiredOption('--gone <host>', 'the host that will never run the guest again')
    .addOption(new Option('--host <host>', 'the host that is left (else all but the one that is gone are asked)'))
    .option('--end', 'end the copy that is left; else the guest goes on there')
    .addHelpText(
      'after',
      `
Refused if there is no doubt, if the other host's agent answers, or if what is known says otherwise. What went on at the host that is gone
cannot be known: if the guest ran there and wrote to its disks, a copy that goes on is older than they are; then end it and start it anew.`,
    )
    .action(async (id: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & ResolveOptions>();
      const { resolve } = await import('./commands/resolve.ts');
      return withHosts(options, (hosts) => resolve(hosts, id, options));
    });
}

function documentCommands(program: Command): void {
  program
    .command('check <file>')
    .description(
      "say what is not supported in a libvirt XML document ('-': stdin), and whether it could run and migrate",
    )
    .option(
      '--host <host>',
      'there: its files, memory, machine and CPU too; nothing is started (else the document alone)',
    )
    .addHelpText('after', '\nEnds with 0 if it could run and migrate safely, else with 1.')
    .action(async (file: string, _: unknown, command: Command) => {
      const { host, ...options } = command.optsWithGlobals<GlobalOptions & CheckOptions>();
      const { checkOffline, checkOnHost } = await import('./commands/check.ts');
      if (host === undefined) return checkOffline(file, options);
      return withHosts(options, (hosts) => checkOnHost(hosts, file, { ...options, host }));
    });
  const xml = program
    .command('xml')
    .description('what Ferry makes of libvirt XML documents, without any host')
    .addHelpText('after', xmlHelp)
    .showHelpAfterError('(ferry xml --help lists the commands)');
  const onFiles = (name: 'complete' | 'qemu', description: string) =>
    xml
      .command(`${name} <file...>`)
      .description(description)
      .addHelpText('after', xmlHelp)
      .action(async (files: string[], _: unknown, command: Command) => {
        const options = command.optsWithGlobals<GlobalOptions & XmlOptions>();
        (await import('./commands/xml.ts'))[name](files, options);
      });
  onFiles('complete', 'print the completed document: defaults, implied devices and addresses filled in');
  onFiles('qemu', 'print the QEMU command line; the agents add monitors, PID file and sandbox');
}

const xmlHelp = `
FILE may be - for stdin. Machine types without a version (pc, q35) stay as they are: each host has its own meaning of them.
With --json one line a file: {"file", "ok", "xml" or "argv", "refused": [{"path", "line", "what", "hint"}]}.
Ends with 0 if every document was accepted, else with 1.`;
