/** The hosts that `ferry` can talk to, from a file; the lab writes one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { z } from 'zod';
import { CliError } from './cli-error.ts';

const address = z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[1-9]\d{0,4}$/, 'must be HOST:PORT');
const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "must be a host's name");
const fileSchema = z.object({
  hosts: z.array(z.object({ name, source: address, dest: address })).min(1),
  tls: z.object({ ca: z.string(), cert: z.string(), key: z.string() }).optional(),
});

/** Where `./dev lab up` leaves its hosts file. */
const labFile = join(import.meta.dirname, '..', '..', '..', '.lab', 'lab.json');

/** One of the two agents of a host. */
export interface Agent {
  readonly address: string;
  /** For messages. */
  readonly name: string;
  readonly client: Client;
}

/** A host by its agents; connections are made when they are used. */
export interface Host {
  readonly name: string;
  /** Serves Domains as well. */
  readonly source: Agent;
  readonly dest: Agent;
}

/** All hosts. Dispose of it to close the connections. */
export class Hosts implements Disposable {
  readonly all: readonly Host[];

  constructor(all: readonly Host[]) {
    this.all = all;
  }

  /** The hosts of a file: the one given, else the one FERRY_HOSTS names, else the lab's. Throws CliError `usage`. */
  static read(file: string | undefined): Hosts {
    const path = pathOf(file);
    const { hosts, tls } = decode(path);
    const channel = channelCredentials(path, tls);
    const agent = (host: string, side: string, at: string): Agent => {
      if (tls === undefined && !isLoopback(at)) throw wrong(path, `${at} is not on loopback, so \`tls\` is needed`);
      return {
        address: at,
        name: `the ${side} agent of ${host} (${at})`,
        client: new Client(at, channel, clientOptions),
      };
    };
    return new Hosts(
      hosts.map((host) => ({
        name: host.name,
        source: agent(host.name, 'source', host.source),
        dest: agent(host.name, 'destination', host.dest),
      })),
    );
  }

  /** Throws CliError `usage`. */
  named(wanted: string): Host {
    const found = this.all.find((host) => host.name === wanted);
    if (found !== undefined) return found;
    throw new CliError(
      'usage',
      `there is no host ${wanted}; there are ${this.all.map((host) => host.name).join(', ')}`,
    );
  }

  /** The one named, or all. */
  chosen(wanted: string | undefined): readonly Host[] {
    return wanted === undefined ? this.all : [this.named(wanted)];
  }

  [Symbol.dispose](): void {
    for (const { source, dest } of this.all) {
      source.client.close();
      dest.client.close();
    }
  }
}

// An agent that is not there is to be told of at once; retries would hide from us what happened.
const clientOptions = {
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

const wrong = (path: string, why: string): CliError =>
  new CliError('usage', `the hosts file ${path} cannot be used: ${why}`);

function decode(path: string): z.infer<typeof fileSchema> {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    if (path === labFile)
      throw new CliError('usage', 'no hosts to talk to', {
        next: 'start a lab with ./dev lab up, or name a file with --hosts-file',
        cause,
      });
    throw wrong(path, cause instanceof Error ? cause.message : String(cause));
  }
  const decoded = fileSchema.safeParse(content);
  if (decoded.success) return decoded.data;
  throw wrong(path, decoded.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

/** Where guests of the lab that a hosts file describes have their files; undefined if it describes none, or is not there. */
export function labDirectory(file: string | undefined): string | undefined {
  try {
    return z.object({ files: z.string() }).parse(JSON.parse(readFileSync(pathOf(file), 'utf8'))).files;
  } catch {
    return undefined;
  }
}

const pathOf = (file: string | undefined): string => file ?? process.env['FERRY_HOSTS'] ?? labFile;

function channelCredentials(
  path: string,
  tls: { ca: string; cert: string; key: string } | undefined,
): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  try {
    return credentials.createSsl(readFileSync(tls.ca), readFileSync(tls.key), readFileSync(tls.cert));
  } catch (cause) {
    throw wrong(path, `its certificates: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

const isLoopback = (at: string): boolean => /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost):\d+$/.test(at);
