/**
 * Compiles Ferry's Redis scripts to functions, so that the very files run that Redis runs, thousands of times a second. It knows the Lua that
 * they are written in and refuses all else by name; lua.test.ts holds it against a real Redis.
 */
import { compileFunction } from 'node:vm';

export type LuaValue = string | Buffer | number | boolean | undefined | LuaTable;
/** A list; that is all the tables there are. Index 0 is Lua's 1. */
export type LuaTable = LuaValue[];
/** `redis.call`. */
export type RedisCall = (...args: LuaValue[]) => LuaValue;
export type Script = (call: RedisCall, keys: LuaTable, args: LuaTable) => LuaValue;

/** Throws SyntaxError for what it does not know. */
export function compileLua(source: string, name: string): Script {
  const body = new Compiler(tokensOf(source, name), name).compile();
  const make = compileFunction(body, ['lib', 'call', 'KEYS', 'ARGV'], { filename: name }) as (
    lib: typeof library,
    ...rest: unknown[]
  ) => LuaValue;
  return (call, keys, args) => make(library, call, keys, args);
}

type Token = { readonly kind: 'name' | 'string' | 'number' | 'sign' | 'end'; readonly text: string };

const pattern =
  /\s+|--[^\n]*|(?<name>[A-Za-z_]\w*)|(?<number>\d+)|'(?<string>[^'\\\n]*)'|(?<sign>\.\.|==|~=|<=|>=|[-+*/#<>=(){}[\],.])/y;

function tokensOf(source: string, name: string): Token[] {
  const tokens: Token[] = [];
  pattern.lastIndex = 0;
  while (pattern.lastIndex < source.length) {
    const at = pattern.lastIndex;
    const groups = pattern.exec(source)?.groups;
    if (groups === undefined)
      throw new SyntaxError(`${name}: cannot read ${JSON.stringify(source.slice(at, at + 20))}`);
    for (const kind of ['name', 'number', 'string', 'sign'] as const) {
      const text = groups[kind];
      if (text !== undefined) tokens.push({ kind, text });
    }
  }
  tokens.push({ kind: 'end', text: 'the end' });
  return tokens;
}

/** The functions of Lua that the scripts use, on one JavaScript value each. */
const functions: Readonly<Record<string, string>> = {
  'redis.call': 'call',
  'string.match': 'lib.match',
  'string.format': 'lib.format',
  'string.sub': 'lib.sub',
  'string.find': 'lib.find',
  'math.floor': 'Math.floor',
};

/** Binary operators, the loosest first. */
const operators: readonly (readonly [string, (a: string, b: string) => string])[][] = [
  [['or', (a, b) => `lib.or(${a}, () => ${b})`]],
  [['and', (a, b) => `lib.and(${a}, () => ${b})`]],
  [
    ['==', (a, b) => `lib.same(${a}, ${b})`],
    ['~=', (a, b) => `!lib.same(${a}, ${b})`],
    ['<', (a, b) => `(lib.number(${a}) < lib.number(${b}))`],
    ['>', (a, b) => `(lib.number(${a}) > lib.number(${b}))`],
    ['<=', (a, b) => `(lib.number(${a}) <= lib.number(${b}))`],
    ['>=', (a, b) => `(lib.number(${a}) >= lib.number(${b}))`],
  ],
  [['..', (a, b) => `lib.text(${a}) + lib.text(${b})`]],
  [
    ['+', (a, b) => `(lib.number(${a}) + lib.number(${b}))`],
    ['-', (a, b) => `(lib.number(${a}) - lib.number(${b}))`],
  ],
  [
    ['*', (a, b) => `(lib.number(${a}) * lib.number(${b}))`],
    ['/', (a, b) => `(lib.number(${a}) / lib.number(${b}))`],
  ],
];

const keywords = new Set(['if', 'then', 'else', 'elseif', 'end', 'for', 'do', 'local', 'return', 'not', 'and', 'or']);

class Compiler {
  readonly #tokens: readonly Token[];
  readonly #name: string;
  #at = 0;

  constructor(tokens: readonly Token[], name: string) {
    this.#tokens = tokens;
    this.#name = name;
  }

  compile(): string {
    const body = this.#block(['the end']);
    return `'use strict';\n${body}`;
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: 'the end' };
  }

  #is(text: string): boolean {
    return this.#next.kind !== 'string' && this.#next.text === text;
  }

  #accept(text: string): boolean {
    if (!this.#is(text)) return false;
    this.#at += 1;
    return true;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw this.#unknown(`not ${text} but`);
  }

  #unknown(why = 'does not know'): SyntaxError {
    return new SyntaxError(`${this.#name}: ${why} ${JSON.stringify(this.#next.text)} (token ${this.#at})`);
  }

  #identifier(): string {
    const { kind, text } = this.#next;
    if (kind !== 'name' || keywords.has(text)) throw this.#unknown();
    this.#at += 1;
    return text === 'KEYS' || text === 'ARGV' ? text : `lua_${text}`;
  }

  #block(ends: readonly string[]): string {
    const statements: string[] = [];
    while (!ends.some((end) => this.#is(end))) statements.push(this.#statement(ends));
    return statements.join('\n');
  }

  #statement(ends: readonly string[]): string {
    if (this.#accept('local')) {
      const name = this.#identifier();
      this.#expect('=');
      return `let ${name} = ${this.#expression()};`;
    }
    if (this.#accept('return')) {
      const value = ends.some((end) => this.#is(end)) ? '' : this.#expression();
      return `return ${value};`;
    }
    if (this.#accept('if')) return this.#if();
    if (this.#accept('for')) return this.#for();
    const target = this.#suffixed();
    if (!this.#accept('=')) return `${target};`;
    const value = this.#expression();
    const indexed = /^lib\.at\((.*), (.*)\)$/.exec(target);
    return indexed === null ? `${target} = ${value};` : `lib.put(${indexed[1]}, ${indexed[2]}, ${value});`;
  }

  #if(): string {
    const condition = this.#expression();
    this.#expect('then');
    const then = this.#block(['end', 'else', 'elseif']);
    let otherwise = '';
    if (this.#accept('elseif')) return `if (lib.true(${condition})) {\n${then}\n} else ${this.#if()}`;
    if (this.#accept('else')) otherwise = ` else {\n${this.#block(['end'])}\n}`;
    this.#expect('end');
    return `if (lib.true(${condition})) {\n${then}\n}${otherwise}`;
  }

  #for(): string {
    const name = this.#identifier();
    this.#expect('=');
    const from = this.#expression();
    this.#expect(',');
    const to = this.#expression();
    const step = this.#accept(',') ? this.#expression() : '1';
    this.#expect('do');
    const body = this.#block(['end']);
    this.#expect('end');
    return `for (let ${name} = ${from}, to_${name} = ${to}; ${name} <= to_${name}; ${name} += ${step}) {\n${body}\n}`;
  }

  #expression(level = 0): string {
    const row = operators[level];
    if (row === undefined) return this.#unary();
    let left = this.#expression(level + 1);
    for (;;) {
      const operator = row.find(([text]) => this.#is(text));
      if (operator === undefined) return left;
      this.#at += 1;
      left = operator[1](left, this.#expression(level + 1));
    }
  }

  #unary(): string {
    if (this.#accept('not')) return `!lib.true(${this.#unary()})`;
    if (this.#accept('#')) return `lib.size(${this.#unary()})`;
    return this.#suffixed();
  }

  #suffixed(): string {
    let value = this.#primary();
    for (;;) {
      if (this.#accept('[')) {
        value = `lib.at(${value}, ${this.#expression()})`;
        this.#expect(']');
      } else return value;
    }
  }

  #primary(): string {
    const { kind, text } = this.#next;
    if (kind === 'string') {
      this.#at += 1;
      return JSON.stringify(text);
    }
    if (kind === 'number') {
      this.#at += 1;
      return text;
    }
    if (this.#accept('(')) {
      const inner = this.#expression();
      this.#expect(')');
      return `(${inner})`;
    }
    if (this.#accept('{')) return `[${this.#list('}')}]`;
    if (this.#accept('true')) return 'true';
    if (this.#accept('false')) return 'false';
    if (this.#accept('nil')) return 'undefined';
    const library = this.#tokens[this.#at + 1]?.text === '.' ? `${text}.${this.#tokens[this.#at + 2]?.text}` : '';
    const known = functions[library];
    if (known === undefined) return this.#identifier();
    this.#at += 3;
    this.#expect('(');
    return `${known}(${this.#list(')')})`;
  }

  #list(end: string): string {
    const items: string[] = [];
    while (!this.#accept(end)) {
      items.push(this.#expression());
      if (!this.#accept(',') && !this.#is(end)) throw this.#unknown();
    }
    return items.join(', ');
  }
}

/** Lua's own ways with values. Redis gives `false` for what is missing. */
const library = {
  true: (value: LuaValue): boolean => value !== undefined && value !== false,
  and: (left: LuaValue, right: () => LuaValue): LuaValue => (library.true(left) ? right() : left),
  or: (left: LuaValue, right: () => LuaValue): LuaValue => (library.true(left) ? left : right()),
  same: (a: LuaValue, b: LuaValue): boolean => (Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b),
  text: (value: LuaValue): string => {
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    throw new TypeError('attempt to concatenate what is no text');
  },
  number: (value: LuaValue): number => {
    const number = typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN;
    if (Number.isNaN(number)) throw new TypeError('attempt to reckon with what is no number');
    return number;
  },
  size: (value: LuaValue): number => {
    if (typeof value === 'string' || Array.isArray(value)) return value.length;
    throw new TypeError('attempt to get length of what has none');
  },
  at: (table: LuaValue, index: LuaValue): LuaValue => {
    if (!Array.isArray(table)) throw new TypeError('attempt to index what is no table');
    return table[library.number(index) - 1];
  },
  put: (table: LuaValue, index: LuaValue, value: LuaValue): void => {
    if (!Array.isArray(table)) throw new TypeError('attempt to index what is no table');
    table[library.number(index) - 1] = value;
  },
  sub: (text: string, from: number, to = text.length): string => text.slice(from - 1, to),
  find: (text: string, part: string, from: number, plain: boolean): number | undefined => {
    if (!plain) throw new SyntaxError('string.find with a pattern is not known here');
    const at = text.indexOf(part, from - 1);
    return at === -1 ? undefined : at + 1;
  },
  /** Of Lua's patterns the one in use: a word of hexadecimal digits after a label. */
  match: (text: string, lua: string): string | undefined => {
    const label = /^(\w+:)\(%x\+\)$/.exec(lua)?.[1];
    if (label === undefined) throw new SyntaxError(`the pattern ${lua} is not known here`);
    const at = text.indexOf(label);
    return at === -1 ? undefined : /^[0-9a-f]+/i.exec(text.slice(at + label.length))?.[0];
  },
  format: (form: string, ...values: LuaValue[]): string => {
    let next = 0;
    return form.replaceAll(/%(0?)(\d*)([a-z])/g, (_all, zero: string, width: string, kind: string) => {
      if (kind !== 'd') throw new SyntaxError(`the format ${form} is not known here`);
      return String(library.number(values[next++])).padStart(Number(width), zero === '' ? ' ' : zero);
    });
  },
};
