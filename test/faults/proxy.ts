/** A connection between two processes that can be cut, made to hang, or made to lose what one side says. It knows bytes, not protocols. */
import { connect, createServer, type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { rmSync } from 'node:fs';

/**
 * `pass`: bytes go through. `cut`: all connections are ended, new ones at once. `deaf`: what the server says is kept back (its reply is late)
 * until the mode changes; with `cut` it is lost. `mute`: nothing goes through either way, and no connection closes.
 */
export type LinkMode = 'pass' | 'cut' | 'deaf' | 'mute';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** What the server has said while it was not heard: read at once, for a server that dies takes what was not read with it. */
  held: Buffer[];
}

export class Proxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #path: string | undefined;
  /** Where connections go to; may be told later. */
  target: NetConnectOpts | undefined;
  #mode: LinkMode = 'pass';

  private constructor(server: Server, path: string | undefined, target: NetConnectOpts | undefined) {
    this.#server = server;
    this.#path = path;
    this.target = target;
    server.on('connection', (client) => this.#join(client));
  }

  /** Listens on a UNIX socket, or on some port of 127.0.0.1. */
  static async listen(at: { path: string } | 'tcp', target?: NetConnectOpts): Promise<Proxy> {
    const server = createServer({ noDelay: true });
    server.listen(at === 'tcp' ? { port: 0, host: '127.0.0.1' } : at);
    await once(server, 'listening');
    return new Proxy(server, at === 'tcp' ? undefined : at.path, target);
  }

  /** HOST:PORT of one on TCP. */
  get address(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `127.0.0.1:${port}`;
  }

  get mode(): LinkMode {
    return this.#mode;
  }

  set mode(mode: LinkMode) {
    this.#mode = mode;
    if (mode === 'cut') for (const pair of this.#pairs) end(pair);
    else
      for (const pair of this.#pairs) {
        if (mode !== 'pass') continue;
        for (const chunk of pair.held) pair.client.write(chunk);
        pair.held = [];
        // One that died while it was not heard.
        if (pair.server.readableEnded || pair.server.closed) pair.client.end();
      }
  }

  #join(client: Socket): void {
    if (this.#mode === 'cut' || this.target === undefined) {
      client.destroy();
      return;
    }
    const server = connect(this.target);
    const pair: Pair = { client, server, held: [] };
    this.#pairs.add(pair);
    const over = (): void => {
      this.#pairs.delete(pair);
      end(pair);
    };
    client
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        if (this.#mode !== 'mute') server.write(chunk);
      });
    server
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        if (this.#mode === 'deaf') pair.held.push(chunk);
        else if (this.#mode !== 'mute') client.write(chunk);
      });
    client.on('end', () => server.end()).on('close', over);
    // A server that dies while it is not heard is missed only afterwards.
    server
      .on('end', () => {
        if (this.#mode === 'pass') client.end();
      })
      .on('close', () => {
        if (this.#mode === 'pass' || this.#mode === 'cut') over();
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mode = 'cut';
    this.#server.close();
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
    if (this.#server.listening) await once(this.#server, 'close');
  }
}

function end({ client, server }: Pair): void {
  client.destroy();
  server.destroy();
}
