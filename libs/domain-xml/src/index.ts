export { abiDifferences } from './abi.ts';
export type { XmlPolicy } from './codec/place.ts';
export { completeDomain, type HostDefaults } from './complete.ts';
export type { Domain } from './domain.ts';
export { DomainXmlError, type DomainXmlErrorKind, type XmlProblem } from './errors.ts';
export { type DomainFile, filesOf } from './files.ts';
export { parseDomain } from './parse.ts';
export { qemuArguments } from './qemu/arguments.ts';
export { writeDomain } from './write.ts';
