/** What Node 20 and 22, as Debian has them, lack of what the sources use. Comes first in every bundle; adds nothing that is there. */
import nodeModule from 'node:module';

const add = (target: object, name: string, value: unknown): void => {
  if (!(name in target)) Object.defineProperty(target, name, { value, writable: true, configurable: true });
};

add(Promise, 'withResolvers', function withResolvers(this: PromiseConstructor): object {
  const made: Record<string, unknown> = {};
  made['promise'] = new this((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
});

add(
  globalThis,
  'SuppressedError',
  class extends Error {
    override readonly name = 'SuppressedError';
    readonly error: unknown;
    readonly suppressed: unknown;

    constructor(error: unknown, suppressed: unknown, message = '') {
      super(message);
      this.error = error;
      this.suppressed = suppressed;
    }
  },
);

type Release = () => unknown;

/** What both kinds of stacks have. */
class Stack {
  protected releases: Release[] = [];
  #isDisposed = false;

  get disposed(): boolean {
    return this.#isDisposed;
  }

  protected hold(release: Release): void {
    if (this.#isDisposed) throw new ReferenceError('the stack is disposed of');
    this.releases.push(release);
  }

  protected take(): Release[] {
    const taken = this.releases.toReversed();
    this.releases = [];
    this.#isDisposed = true;
    return taken;
  }

  adopt<T>(value: T, release: (value: T) => unknown): T {
    this.hold(() => release(value));
    return value;
  }

  defer(release: Release): void {
    this.hold(release);
  }

  move(): this {
    const moved = new (this.constructor as new () => this)();
    moved.releases = this.take().toReversed();
    return moved;
  }
}

const joined = (error: unknown, before: { readonly error: unknown } | undefined): { readonly error: unknown } => ({
  error: before === undefined ? error : new SuppressedError(error, before.error),
});

add(
  globalThis,
  'DisposableStack',
  class extends Stack {
    use<T extends Disposable | null | undefined>(value: T): T {
      if (value !== null && value !== undefined) this.hold(() => value[Symbol.dispose]());
      return value;
    }

    dispose(): void {
      let failed: { readonly error: unknown } | undefined;
      for (const release of this.take()) {
        try {
          release();
        } catch (error) {
          failed = joined(error, failed);
        }
      }
      if (failed !== undefined) throw failed.error;
    }

    [Symbol.dispose](): void {
      this.dispose();
    }
  },
);

add(
  globalThis,
  'AsyncDisposableStack',
  class extends Stack {
    use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
      if (value !== null && value !== undefined)
        this.hold(() => (Symbol.asyncDispose in value ? value[Symbol.asyncDispose]() : value[Symbol.dispose]()));
      return value;
    }

    async disposeAsync(): Promise<void> {
      let failed: { readonly error: unknown } | undefined;
      for (const release of this.take()) {
        try {
          await release();
        } catch (error) {
          failed = joined(error, failed);
        }
      }
      if (failed !== undefined) throw failed.error;
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.disposeAsync();
    }
  },
);

const iteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([].values())) as object;
const ofArray = Array.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
for (const name of ['some', 'every', 'find', 'forEach', 'reduce'])
  add(iteratorPrototype, name, function (this: Iterable<unknown>, ...args: unknown[]) {
    return ofArray[name]?.apply([...this], args);
  });
for (const name of ['map', 'filter', 'flatMap'])
  add(iteratorPrototype, name, function (this: Iterable<unknown>, ...args: unknown[]) {
    const made = ofArray[name]?.apply([...this], args) as unknown[] | undefined;
    return made?.values();
  });
add(iteratorPrototype, 'toArray', function (this: Iterable<unknown>) {
  return [...this];
});

add(nodeModule, 'enableCompileCache', () => ({}));
add(nodeModule, 'flushCompileCache', () => undefined);
