/** What only a process needs that exports metrics. */
export { startRecording } from './metrics.ts';
export { observeProcess } from './process-metrics.ts';
export { PrometheusReader } from './prometheus.ts';
