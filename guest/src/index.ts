export { buildGuest } from './build.ts';
export { configText, guestConfig, type GuestConfig, type GuestOptions, type Size } from './config.ts';
export { GuestError, type GuestErrorKind } from './errors.ts';
export { type TickArrival, tickBlackout, TickReader, type TickReport, verifyTicks } from './ticks.ts';
export { type GuestDomain, guestXml } from './xml.ts';
