/**
 * Takes connections: TLS first, within a bounded time, and never so many that this process could not open its own files any more. gRPC's
 * own listener has no such bounds; it is given the connections that have passed.
 */
import { lookup } from 'node:dns/promises';
import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, isIP, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions } from 'node:tls';
import { formatHostPort, type HostPort } from '@ferry/rpc';
import type { AuditLog } from './audit.ts';
import type { BlackoutGate } from './blackout-gate.ts';
import type { Callers } from './callers.ts';
import { AgentError } from './errors.ts';

/** How much strangers, and one certificate, may take of this process. */
export interface ConnectionLimits {
  /** From the first byte to a verified certificate. An absolute time: one that sends a byte now and then has no longer. */
  readonly handshakeMs: number;
  /** Connections whose certificate is not known yet; a new one ends the oldest. */
  readonly handshakesMax: number;
  readonly perCertificateMax: number;
  /** All of them together. */
  readonly connectionsMax: number;
}

/** Journals, monitors, Redis and the connections to other agents are opened when the rest is taken. */
const descriptorsReserved = 768;

export function connectionLimits(descriptorsMax = openFilesMax()): ConnectionLimits {
  const left = descriptorsMax - Math.min(descriptorsReserved, Math.ceil(descriptorsMax / 2));
  const connectionsMax = Math.max(8, Math.min(1_000, left));
  return {
    handshakeMs: 5_000,
    handshakesMax: Math.min(128, connectionsMax >> 1),
    perCertificateMax: 100,
    connectionsMax,
  };
}

/** The limit of open files that the kernel holds this process to (proc(5), /proc/PID/limits). */
function openFilesMax(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
  return limit === undefined ? Number.MAX_SAFE_INTEGER : Number(limit);
}

/** As gRPC names the other end of a call. */
const peerOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}:${remotePort}`;

/** What connections are given to. */
export interface ConnectionsOptions {
  /** undefined: none, for loopback. */
  readonly tls: TlsOptions | undefined;
  readonly limits: ConnectionLimits;
  readonly gate: BlackoutGate;
  /** Learns who is at the other end of the connections that have passed. */
  readonly callers: Pick<Callers, 'opened' | 'closed'>;
  readonly audit: Pick<AuditLog, 'handshake'>;
  /** Is given the connections that have passed. */
  readonly accept: (socket: Socket) => void;
}

export class Connections implements Disposable {
  readonly #callers: ConnectionsOptions['callers'];
  readonly #audit: ConnectionsOptions['audit'];
  readonly #limits: ConnectionLimits;
  readonly #gate: BlackoutGate;
  readonly #accept: (socket: Socket) => void;
  readonly #tls: TlsServer | undefined;
  readonly #listeners: NetServer[] = [];
  readonly #open = new Set<Socket>();
  /** Connections whose certificate is not known yet, the oldest first. */
  readonly #handshakes = new Map<string, { readonly socket: Socket; readonly timer: NodeJS.Timeout }>();
  readonly #certificates = new Map<string, string>();

  constructor({ tls, limits, gate, callers, audit, accept }: ConnectionsOptions) {
    this.#callers = callers;
    this.#audit = audit;
    this.#limits = limits;
    this.#gate = gate;
    this.#accept = accept;
    if (tls === undefined) return;
    this.#tls = createTlsServer({ ...tls, ALPNProtocols: ['h2'] }, (socket) => {
      const peer = peerOf(socket);
      this.#endHandshake(peer);
      const certificate = socket.getPeerX509Certificate();
      // A connection that breaks off is an error of nobody's here: gRPC sees its end.
      socket.on('error', () => undefined);
      if (socket.alpnProtocol === 'h2') this.#admit(socket, peer, certificate);
      else socket.destroy();
    });
    this.#tls.on('tlsClientError', (error, socket) => {
      this.#audit.handshake(peerOf(socket), error.message);
      socket.destroy();
    });
  }

  /** Listens at all addresses of the host; gives the port. Throws AgentError config-invalid. */
  async listen({ host, port }: HostPort): Promise<number> {
    try {
      const addresses = isIP(host) === 0 ? (await lookup(host, { all: true })).map(({ address }) => address) : [host];
      for (const address of new Set(addresses)) port = await this.#listenAt(address, port);
      return port;
    } catch (cause) {
      this[Symbol.dispose]();
      const why = cause instanceof Error ? cause.message : String(cause);
      // After a boot, the address may come later than the agent.
      const options = { cause, isTemporary: true };
      throw new AgentError('config-invalid', `cannot listen on ${formatHostPort({ host, port })}: ${why}`, options);
    }
  }

  async #listenAt(host: string, port: number): Promise<number> {
    const listener = createServer({ noDelay: true }, (socket) => this.#take(socket));
    this.#listeners.push(listener);
    await once(listener.listen({ host, port }), 'listening');
    const address = listener.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  /** Which certificate the other end of a call has shown; empty without TLS. `peer` is gRPC's name of it. */
  certificateOf(peer: string): string {
    return this.#certificates.get(peer) ?? '';
  }

  #take(socket: Socket): void {
    socket.on('error', () => undefined);
    const full = this.#open.size >= this.#limits.connectionsMax;
    if ((full || this.#handshakes.size >= this.#limits.handshakesMax) && !this.#endOldestHandshake()) {
      socket.destroy();
      return;
    }
    const peer = peerOf(socket);
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      this.#endHandshake(peer);
    });
    if (this.#tls === undefined) return this.#admit(socket, peer, undefined);
    const timer = setTimeout(() => {
      this.#audit.handshake(peer, `no verified certificate within ${this.#limits.handshakeMs} ms`);
      socket.destroy();
    }, this.#limits.handshakeMs);
    this.#handshakes.set(peer, { socket, timer });
    // A handshake takes a millisecond of the event loop.
    this.#gate.whenOpen(() => {
      if (!socket.destroyed) this.#tls?.emit('connection', socket);
    }, 'connections');
  }

  /** Those who know how to shake hands do so in milliseconds: the oldest is a stranger. */
  #endOldestHandshake(): boolean {
    const [oldest] = this.#handshakes;
    if (oldest === undefined) return false;
    const [peer, { socket }] = oldest;
    this.#endHandshake(peer);
    this.#open.delete(socket);
    socket.destroy();
    return true;
  }

  #endHandshake(peer: string): void {
    clearTimeout(this.#handshakes.get(peer)?.timer);
    this.#handshakes.delete(peer);
  }

  #admit(socket: Socket, peer: string, shown: X509Certificate | undefined): void {
    const certificate = shown?.fingerprint256 ?? '';
    const theirs = [...this.#certificates.values()].filter((other) => other === certificate).length;
    if (certificate !== '' && theirs >= this.#limits.perCertificateMax) {
      socket.destroy();
      return;
    }
    this.#certificates.set(peer, certificate);
    this.#callers.opened(peer, shown);
    socket.once('close', () => {
      this.#certificates.delete(peer);
      this.#callers.closed(peer);
    });
    this.#accept(socket);
  }

  /** Takes no more; those that are open go on. */
  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.close();
    for (const { socket } of this.#handshakes.values()) socket.destroy();
  }
}
