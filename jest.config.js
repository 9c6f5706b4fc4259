// Tests are TypeScript modules, transformed by swc; the types are checked by `./dev check`.
const slowness = Number(process.env.FERRY_TEST_SLOWNESS ?? 1);

export default {
  testEnvironment: './tools/test-environment.js',
  reporters: ['default', './tools/progress-reporter.js'],
  // Jest 30 would empty every object that a test's globals lead to, its own colours among them.
  testEnvironmentOptions: { globalsCleanup: 'off' },
  extensionsToTreatAsEsm: ['.ts'],
  testMatch: ['**/*.test.ts'],
  modulePathIgnorePatterns: ['<rootDir>/.tools', '<rootDir>/.lab', '<rootDir>/dist', '<rootDir>/packages'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  testTimeout: 60_000 * slowness,
  // Real QEMUs and agents share two cores: more workers than that only make them wait for each other.
  maxWorkers: 2,
};
