import { QmpError } from './errors.ts';

/** What a value must look like: generated from QEMU's schema. Enumerations are strings here, for a newer QEMU has more words. */
export type Shape =
  | 'str'
  | 'int'
  | 'number'
  | 'bool'
  | 'null'
  | 'any'
  | { readonly list: Shape }
  | { readonly object: string }
  | { readonly oneOf: readonly Shape[] };

export interface ObjectShape {
  readonly members: Readonly<Record<string, { readonly is: Shape; readonly optional?: true }>>;
  /** The member that says which arm's members come in addition. */
  readonly tag?: string;
  readonly arms?: Readonly<Record<string, string>>;
}

export type ShapeTable = Readonly<Record<string, ObjectShape>>;

/** Deeper than any reply of QEMU's (PCI bridges and backing images nest), and far from the end of the stack. */
const depthMax = 64;

/**
 * Checks that a value has a shape and returns it. What the shape doesn't name is let through: newer QEMUs send more
 * members, more words, more arms. An integer beyond 2^53 where the type says number is rounded toward zero, so that it is
 * still in QEMU's range when it is sent back. Throws QmpError `qemu-protocol` naming the place.
 */
export function decode(value: unknown, shape: Shape, what: string, table: ShapeTable): unknown {
  return check(value, shape, { what, table, depth: 0 });
}

interface Place {
  readonly what: string;
  readonly table: ShapeTable;
  readonly depth: number;
}

function check(value: unknown, shape: Shape, at: Place): unknown {
  if (typeof shape === 'string') return checkScalar(value, shape, at.what);
  if (at.depth > depthMax) throw wrong(at.what, `less than ${depthMax} levels`, value);
  if ('list' in shape) {
    if (!Array.isArray(value)) throw wrong(at.what, 'a list', value);
    const list: unknown[] = value;
    for (let i = 0; i < list.length; i += 1) {
      list[i] = check(list[i], shape.list, { ...at, what: `${at.what}[${i}]`, depth: at.depth + 1 });
    }
    return list;
  }
  if ('oneOf' in shape) {
    const form = shape.oneOf.find((candidate) => looksLike(value, candidate));
    if (form === undefined) throw wrong(at.what, 'one of several forms', value);
    return check(value, form, at);
  }
  if (!isObject(value)) throw wrong(at.what, 'an object', value);
  return checkObject(value, shape.object, at);
}

function checkObject(value: Record<string, unknown>, name: string, at: Place): unknown {
  const shape = at.table[name];
  if (!shape) throw new Error(`the generated shapes lack ${name}`);
  for (const member in shape.members) {
    const rule = shape.members[member];
    const inner = value[member];
    if (rule === undefined || (inner === undefined && rule.optional)) continue;
    // Scalars, which nearly all members are, need no new place.
    const is = rule.is;
    if (typeof is === 'string') {
      if (!scalars[is](inner)) value[member] = checkScalar(inner, is, `${at.what}.${member}`);
    } else {
      value[member] = check(inner, is, { ...at, what: `${at.what}.${member}`, depth: at.depth + 1 });
    }
  }
  const word = shape.tag === undefined ? undefined : value[shape.tag];
  if (typeof word !== 'string' || !shape.arms || !Object.hasOwn(shape.arms, word)) return value;
  return checkObject(value, shape.arms[word] ?? 'NoMembers', { ...at, depth: at.depth + 1 });
}

type Scalar = Extract<Shape, string>;

const scalars: Readonly<Record<Scalar, (value: unknown) => boolean>> = {
  str: (value) => typeof value === 'string',
  int: (value) => Number.isSafeInteger(value),
  number: (value) => typeof value === 'number',
  bool: (value) => typeof value === 'boolean',
  null: (value) => value === null,
  any: (value) => value !== undefined,
};

function checkScalar(value: unknown, shape: Scalar, what: string): unknown {
  if (scalars[shape](value)) return value;
  if ((shape === 'int' || shape === 'number') && typeof value === 'bigint') return towardZero(value);
  throw wrong(what, `of type ${shape}`, value);
}

/** The double nearest to an integer of at most 64 bits on the side of zero. */
function towardZero(integer: bigint): number {
  const magnitude = integer < 0n ? -integer : integer;
  const excess = BigInt(Math.max(0, magnitude.toString(2).length - 53));
  const rounded = Number((magnitude >> excess) << excess);
  return integer < 0n ? -rounded : rounded;
}

/** Tells the forms of an alternate apart, as QEMU does: by the JSON type alone. */
function looksLike(value: unknown, shape: Shape): boolean {
  if (typeof shape === 'string') return scalars[shape](value) || (shape === 'int' && typeof value === 'bigint');
  if ('list' in shape) return Array.isArray(value);
  return 'oneOf' in shape ? shape.oneOf.some((form) => looksLike(value, form)) : isObject(value);
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(what: string, expected: string, value: unknown): QmpError {
  const got = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
  return new QmpError('qemu-protocol', `${what} from QEMU should be ${expected} and is ${got}`);
}
