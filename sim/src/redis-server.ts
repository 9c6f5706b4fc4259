/** A Redis as far as the scripts use it: its data in one life under one run id and replication id, with what is needed to come back with older data. */
import { compileLua, type LuaTable, type LuaValue, type Script } from './lua.ts';
import type { Random } from './random.ts';

type Hash = Map<string, string | Buffer>;
interface Entry {
  readonly value: string | Buffer | Hash;
  readonly expiresAtMs: number | undefined;
}

/** What one script changed, to be taken back: a replica that lacks the latest writes. */
type Undo = Map<string, Entry | undefined>;

/** Writes that a fail-over may lose. */
const undoMax = 64;

/** Redis answered with an error. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

const compiled = new Map<string, Script>();

function scriptOf(lua: string): Script {
  const known = compiled.get(lua);
  if (known !== undefined) return known;
  const script = compileLua(lua, [...lua.matchAll(/^-- (\S+\.lua):/gm)].at(-1)?.[1] ?? 'script');
  compiled.set(lua, script);
  return script;
}

export class RedisServer {
  /** The process. */
  readonly runId: string;
  /** The history of its data: master_replid. */
  readonly replId: string;
  readonly #nowMs: () => number;
  #data: Map<string, Entry>;
  readonly #undo: Undo[] = [];
  #changing: Undo | undefined;

  constructor(runId: string, replId: string, nowMs: () => number, data = new Map<string, Entry>()) {
    this.runId = runId;
    this.replId = replId;
    this.#nowMs = nowMs;
    this.#data = data;
  }

  /** As incarnation.lua makes it. */
  get incarnation(): string {
    return `${this.runId}:${this.replId}`;
  }

  /** Another life with this one's data, but for the latest so many writes; in the process of that run id, if one is named. */
  successor(random: Random, lost: number, runId = random.hex(20)): RedisServer {
    const data = new Map(this.#data);
    for (const undo of this.#undo.slice(Math.max(0, this.#undo.length - lost)).toReversed()) {
      for (const [key, before] of undo) {
        if (before === undefined) data.delete(key);
        else data.set(key, before);
      }
    }
    return new RedisServer(runId, random.hex(20), this.#nowMs, data);
  }

  /** A hash that is there from the beginning. */
  put(key: string, fields: Readonly<Record<string, string>>): void {
    this.#data.set(key, { value: new Map(Object.entries(fields)), expiresAtMs: undefined });
  }

  /** FLUSHALL. */
  flush(): void {
    this.#data = new Map();
    this.#undo.length = 0;
  }

  /** Keys are evicted for want of memory. */
  evict(part: string): void {
    for (const key of this.#data.keys()) if (key.includes(part)) this.#data.delete(key);
  }

  /** Runs a script: all of it or, when it throws, what it did until then (as Redis does). Throws ReplyError. */
  run(lua: string, keys: readonly string[], args: readonly (string | Buffer)[]): LuaValue {
    const undo: Undo = new Map();
    this.#changing = undo;
    try {
      return scriptOf(lua)((...words) => this.#call(words), [...keys], [...args]);
    } finally {
      this.#changing = undefined;
      if (undo.size > 0) this.#undo.push(undo);
      if (this.#undo.length > undoMax) this.#undo.shift();
    }
  }

  /** The keys there are, for looking from outside. */
  keys(): string[] {
    return [...this.#data.keys()].filter((key) => this.#entry(key) !== undefined);
  }

  /** A hash as texts; empty if there is none. */
  hash(key: string): Record<string, string> {
    const value = this.#entry(key)?.value;
    if (!(value instanceof Map)) return {};
    return Object.fromEntries([...value].map(([field, bytes]) => [field, bytes.toString()]));
  }

  field(key: string, field: string): Buffer | null {
    const value = this.#entry(key)?.value;
    const found = value instanceof Map ? value.get(field) : undefined;
    return found === undefined ? null : Buffer.from(found);
  }

  #entry(key: string): Entry | undefined {
    const entry = this.#data.get(key);
    if (entry?.expiresAtMs !== undefined && entry.expiresAtMs <= this.#nowMs()) return undefined;
    return entry;
  }

  #set(key: string, entry: Entry | undefined): void {
    if (this.#changing?.has(key) === false) this.#changing.set(key, this.#data.get(key));
    if (entry === undefined) this.#data.delete(key);
    else this.#data.set(key, entry);
  }

  #hashOf(key: string): Hash | undefined {
    const entry = this.#entry(key);
    if (entry === undefined || entry.value instanceof Map) return entry?.value as Hash | undefined;
    throw new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value');
  }

  #expire(key: string, ms: number): LuaValue {
    const entry = this.#entry(key);
    if (entry === undefined) return 0;
    this.#set(key, { ...entry, expiresAtMs: this.#nowMs() + ms });
    return 1;
  }

  #call(words: LuaValue[]): LuaValue {
    const [command, ...rest] = words;
    const text = (at: number): string => {
      const word = rest[at];
      if (typeof word === 'string' || typeof word === 'number') return String(word);
      throw new ReplyError(`ERR Lua redis lib command arguments must be strings or integers (${String(command)})`);
    };
    switch (String(command)) {
      case 'GET': {
        const value = this.#entry(text(0))?.value;
        if (value instanceof Map) throw new ReplyError('WRONGTYPE');
        return value ?? false;
      }
      case 'SET': {
        if (rest.length !== 2 && (rest.length !== 4 || text(2) !== 'PX')) throw new ReplyError('ERR syntax error');
        const expiresAtMs = rest.length === 2 ? undefined : this.#nowMs() + Number(text(3));
        this.#set(text(0), { value: text(1), expiresAtMs });
        return 'OK';
      }
      case 'DEL': {
        for (let at = 0; at < rest.length; at += 1)
          if (this.#entry(text(at)) !== undefined) this.#set(text(at), undefined);
        return rest.length;
      }
      case 'EXISTS':
        return this.#entry(text(0)) === undefined ? 0 : 1;
      case 'PEXPIRE':
        return this.#expire(text(0), Number(text(1)));
      case 'EXPIRE':
        return this.#expire(text(0), 1000 * Number(text(1)));
      case 'HGET':
        return this.#hashOf(text(0))?.get(text(1)) ?? false;
      case 'HMGET': {
        const hash = this.#hashOf(text(0));
        return rest.slice(1).map((_, at) => hash?.get(text(at + 1)) ?? false);
      }
      case 'HGETALL':
        return [...(this.#hashOf(text(0)) ?? [])].flat();
      case 'HSET':
        return this.#hashSet(text(0), rest.slice(1));
      case 'HSETNX':
        return this.#hashOf(text(0))?.has(text(1)) === true ? 0 : this.#hashSet(text(0), rest.slice(1));
      case 'PERSIST': {
        const entry = this.#entry(text(0));
        if (entry?.expiresAtMs === undefined) return 0;
        this.#set(text(0), { value: entry.value, expiresAtMs: undefined });
        return 1;
      }
      case 'HINCRBY': {
        const next = String(Number(this.#hashOf(text(0))?.get(text(1)) ?? '0') + Number(text(2)));
        this.#hashSet(text(0), [text(1), next]);
        return Number(next);
      }
      case 'HDEL': {
        const hash: Hash = new Map(this.#hashOf(text(0)));
        const gone = rest.slice(1).filter((_, at) => hash.delete(text(at + 1))).length;
        const before = this.#entry(text(0));
        if (before !== undefined && gone > 0)
          this.#set(text(0), hash.size === 0 ? undefined : { ...before, value: hash });
        return gone;
      }
      case 'INFO':
        return text(0) === 'server'
          ? `# Server\r\nrun_id:${this.runId}\r\n`
          : `# Replication\r\nmaster_replid:${this.replId}\r\n`;
      case 'TIME': {
        const nowUs = Math.floor(this.#nowMs() * 1000);
        return [String(Math.floor(nowUs / 1e6)), String(nowUs % 1e6)];
      }
      default:
        throw new SyntaxError(`the command ${String(command)} is not known here`);
    }
  }

  #hashSet(key: string, pairs: LuaTable): LuaValue {
    const before = this.#entry(key);
    const hash: Hash = new Map(this.#hashOf(key));
    for (let at = 0; at + 1 < pairs.length; at += 2) {
      const [field, value] = [pairs[at], pairs[at + 1]];
      if (typeof field !== 'string') throw new ReplyError('ERR a field is a text');
      if (typeof value !== 'string' && typeof value !== 'number' && !Buffer.isBuffer(value)) {
        throw new ReplyError('ERR Lua redis lib command arguments must be strings or integers');
      }
      hash.set(field, typeof value === 'number' ? String(value) : value);
    }
    this.#set(key, { value: hash, expiresAtMs: before?.expiresAtMs });
    return pairs.length / 2;
  }
}
