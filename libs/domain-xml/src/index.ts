export { DomainXmlError, type DomainXmlErrorKind, type XmlProblem } from './errors.ts';
