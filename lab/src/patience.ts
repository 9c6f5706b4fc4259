/**
 * How long something may take before it counts as hanging. Nothing is measured by it: it ends what waits for a condition that will never come true,
 * so it grows with how slow or busy the machine is.
 */

/** 1 on an idle machine of the kind the limits were chosen on; `./dev test` measures it when it begins. */
const slowness = Math.max(1, Number(process.env['FERRY_TEST_SLOWNESS'] ?? 1) || 1);

/** Aborts after `ms` on an idle machine, later on a busy one. */
export const patience = (ms: number): AbortSignal => AbortSignal.timeout(Math.round(ms * slowness));
