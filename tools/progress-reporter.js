// Says now and then which tests are running: where output is no terminal, Jest itself is silent until a file is done.

const everyMs = 20_000;

export default class ProgressReporter {
  #running = new Map();
  #passed = 0;
  #failed = 0;
  #timer;

  onRunStart() {
    this.#timer = setInterval(() => this.#say(), everyMs);
    this.#timer.unref();
  }

  onTestFileStart(test) {
    this.#running.set(test.path, { since: Date.now(), done: 0, last: '' });
  }

  onTestCaseResult(test, result) {
    if (result.status === 'passed') this.#passed += 1;
    if (result.status === 'failed') this.#failed += 1;
    const file = this.#running.get(test.path);
    if (file !== undefined) Object.assign(file, { done: file.done + 1, last: result.fullName });
  }

  onTestFileResult(test) {
    this.#running.delete(test.path);
  }

  onRunComplete() {
    clearInterval(this.#timer);
  }

  #say() {
    const files = [...this.#running].map(([path, { since, done, last }]) => {
      const name = path.slice(process.cwd().length + 1);
      const seconds = Math.round((Date.now() - since) / 1000);
      return `${name} for ${seconds} s, ${done} done${last === '' ? '' : `, the last one: ${last}`}`;
    });
    process.stderr.write(`… ${this.#passed} passed, ${this.#failed} failed; running ${files.join('; ')}\n`);
  }
}
