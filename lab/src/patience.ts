/**
 * How long something may take before it counts as hanging. Nothing is measured by it: it ends what waits for a condition that will never come true,
 * so it grows with how slow or busy the machine is.
 */

/** 1 on an idle machine of the kind the limits were chosen on; `./dev test` measures it when it begins. */
const slowness = Math.max(1, Number(process.env['FERRY_TEST_SLOWNESS'] ?? 1) || 1);

/** Aborts after `ms` on an idle machine, later on a busy one. Its reason is a TimeoutError that tells who has waited. */
export function patience(ms: number): AbortSignal {
  const limitMs = Math.round(ms * slowness);
  const late = new Error(`still not so after ${limitMs} ms`);
  late.name = 'TimeoutError';
  const controller = new AbortController();
  setTimeout(() => controller.abort(late), limitMs).unref();
  return controller.signal;
}
