/** Chance that can be had again: the same seed gives the same numbers (sfc32). */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 2 ** 32) >>> 0;
    this.#c = 0x9e3779b9;
    for (let i = 0; i < 12; i += 1) this.#word();
  }

  #word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** At least 0, below 1. */
  unit(): number {
    return this.#word() / 2 ** 32;
  }

  /** A whole number of at least 0, below `bound`. */
  below(bound: number): number {
    return Math.floor(this.unit() * bound);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0];
  }

  between(least: number, most: number): number {
    return least + this.unit() * (most - least);
  }

  /** Small and large alike: each order of magnitude as often as any other. */
  scale(least: number, most: number): number {
    return least * (most / least) ** this.unit();
  }

  /** `bytes` bytes, in hexadecimal. */
  hex(bytes: number): string {
    let text = '';
    while (text.length < 2 * bytes) text += this.#word().toString(16).padStart(8, '0');
    return text.slice(0, 2 * bytes);
  }

  uuid(): `${string}-${string}-${string}-${string}-${string}` {
    const h = this.hex(16);
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-4${h.slice(13, 16)}-8${h.slice(17, 20)}-${h.slice(20)}`;
  }
}
