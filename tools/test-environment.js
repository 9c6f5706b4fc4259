// Where tests run: Node, with every time limit stretched by how slow the machine is (FERRY_TEST_SLOWNESS).
import { TestEnvironment } from 'jest-environment-node';

const slowness = Number(process.env.FERRY_TEST_SLOWNESS ?? 1);

export default class PatientEnvironment extends TestEnvironment {
  handleTestEvent(event) {
    // Those without a limit of their own have the default one, which jest.config.js has stretched already.
    const limited = event.name === 'test_start' ? event.test : event.name === 'hook_start' ? event.hook : undefined;
    if (typeof limited?.timeout === 'number') limited.timeout *= slowness;
  }
}
