/** QEMU alone: what a migration costs if somebody sends the fewest commands at the earliest moments, and keeps no record of anything. */
import { type Domain, qemuArguments } from '@ferry/domain-xml';
import { Hypervisor } from '@ferry/hypervisor';
import type { Lab } from '@ferry/lab';
import { capabilitiesToSet, limitsOf } from '@ferry/migration';
import type { Contender, Figures } from './contender.ts';
import { RawQemu } from './raw-qemu.ts';

const binary = 'qemu-system-x86_64';

/** As Ferry starts it (libs/hypervisor/src/launch.ts), but for the monitors. */
const processArguments =
  '-S -nodefaults -no-user-config -display none -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'.split(
    ' ',
  );

/** As Ferry sets them; asking QEMU which it offers is what a small program leaves out. */
const capabilitiesOf = (side: 'source' | 'dest') =>
  capabilitiesToSet(
    side,
    ['events', 'return-path', 'pause-before-switchover', 'late-block-activate'].map((capability) => ({
      capability,
      state: false,
    })),
  );

/** Gives ports of host b's range in turn. While it is our turn no agent uses them. */
function portsOf(lab: Lab): () => number {
  const [first, last] = lab.host('b').migrationPorts;
  let next = first;
  return () => {
    const port = next;
    next = port === last ? first : port + 1;
    return port;
  };
}

export async function qemuAlone(lab: Lab, signal: AbortSignal): Promise<Contender> {
  const policy = { allowedRoots: ['/'], maxBytes: 1024 * 1024 };
  const options = { stateDir: lab.dir, binary, side: 'source', policy, memoryReserveBytes: 0 } as const;
  // Only reads the document as an agent does.
  await using hypervisor = await Hypervisor.open(options, signal);
  const nextPort = portsOf(lab);
  return {
    name: 'QEMU alone',
    agents: () => [],
    run: async (guest) => {
      const domain = hypervisor.read(guest.xml);
      const source = await launch(domain, [], lab, signal);
      await source.execute('qmp_capabilities');
      await source.execute('cont');
      let dest: RawQemu | undefined;
      const launchDest = async (): Promise<RawQemu> => {
        dest = await launch(domain, ['-incoming', 'defer'], lab, signal);
        return dest;
      };
      return {
        migrate: () => migrate(source, launchDest, nextPort()),
        [Symbol.asyncDispose]: async () => {
          await source[Symbol.asyncDispose]();
          await dest?.[Symbol.asyncDispose]();
        },
      };
    },
  };
}

const launch = (domain: Domain, more: readonly string[], lab: Lab, signal: AbortSignal): Promise<RawQemu> =>
  RawQemu.launch(binary, [...processArguments, ...more, ...qemuArguments(domain)], lab.dir, signal);

async function migrate(source: RawQemu, launchDest: () => Promise<RawQemu>, port: number): Promise<Figures> {
  const began = performance.now();
  const uri = `tcp:127.0.0.1:${port}`;
  const { bandwidthBytesPerSecond, downtimeLimitMs } = limitsOf(undefined);
  const parameters = { 'max-bandwidth': bandwidthBytesPerSecond, 'downtime-limit': downtimeLimitMs };
  const [dest] = await Promise.all([
    launchDest(),
    source.execute('migrate-set-capabilities', { capabilities: capabilitiesOf('source') }),
    source.execute('migrate-set-parameters', parameters),
  ]);
  await Promise.all([
    dest.execute('qmp_capabilities'),
    dest.execute('migrate-set-capabilities', { capabilities: capabilitiesOf('dest') }),
    dest.execute('migrate-incoming', { uri }),
  ]);
  await source.execute('migrate', { uri });
  await source.when('MIGRATION', 'pre-switchover');
  const proceeding = source.execute('migrate-continue', { state: 'pre-switchover' });
  const [loadedUs] = await Promise.all([dest.when('MIGRATION', 'completed'), proceeding]);
  await Promise.all([dest.execute('cont'), source.when('MIGRATION', 'completed')]);
  const [info] = await Promise.all([source.execute('query-migrate'), source.execute('quit'), source.ended]);
  const wholeMs = performance.now() - began;

  const [stopUs, deviceUs] = [await source.when('STOP'), await source.when('MIGRATION', 'device')];
  const resumeUs = await dest.when('RESUME');
  return {
    wholeMs,
    qemuTotalMs: Number(info['total-time']),
    blackoutMs: (resumeUs - stopUs) / 1_000,
    controlSourceMs: (deviceUs - stopUs) / 1_000,
    controlDestMs: (resumeUs - loadedUs) / 1_000,
  };
}
