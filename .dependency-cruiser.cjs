// Arrows one way: services → agent → {hypervisor, handover, jobs, migration, domain-xml} → {qemu-qmp, redis} → rpc → proto; cli → rpc. rpc has the phases' names of migration.
const below = {
  'libs/qemu-qmp': [],
  'libs/redis': ['libs/rpc'],
  'libs/jobs': ['libs/redis'],
  'libs/handover': ['libs/redis'],
  'libs/domain-xml': [],
  'libs/migration': ['proto'],
  'libs/hypervisor': ['libs/domain-xml', 'libs/qemu-qmp'],
  'libs/rpc': ['libs/migration', 'proto'],
  'libs/agent': [
    'libs/rpc',
    'libs/redis',
    'libs/hypervisor',
    'libs/handover',
    'libs/migration',
    'libs/domain-xml',
    'libs/qemu-qmp',
    'libs/jobs',
    'proto',
  ],
  'services/source-agent': ['libs', 'proto'],
  'services/dest-agent': ['libs', 'proto'],
  'services/cli': ['libs/rpc', 'libs/domain-xml', 'libs/migration', 'proto', 'guest'],
  lab: ['libs/rpc', 'proto', 'guest'],
  guest: [],
  sim: ['libs', 'services/source-agent', 'services/dest-agent', 'proto'],
};

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    ...Object.entries(below).map(([from, to]) => ({
      name: `${from} stays in its layer`,
      severity: 'error',
      // Tests may use what they like: real parts of other packages stand in for the world.
      from: { path: `^${from}/`, pathNot: '\\.test\\.ts$' },
      to: { path: '^(libs|services|lab|guest|sim|test|proto)/', pathNot: `^(${[from, ...to].join('|')})/` },
    })),
    { name: 'nothing imports tests', severity: 'error', from: { pathNot: '^test/' }, to: { path: '^test/' } },
    { name: 'unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true, pathNot: '^node:' } },
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(node_modules|proto/gen)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'],
    },
  },
};
