/** Metrics for Prometheus to fetch: names with units, and each series with the service and the host that it is of. */
import { createServer, type ServerResponse } from 'node:http';
import type { HostPort } from '@ferry/rpc';
import { diag } from '@opentelemetry/api';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { DataPointType, MetricReader, type ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { prometheusName } from './metrics-table.ts';

const constantLabels = /^(service\.name|host\.name)$/;
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

/** Serves them at HOST:PORT/metrics, to any number of scrapers. An address that cannot be had is told, and nothing else: the agent serves. */
export class PrometheusReader extends MetricReader {
  readonly #serializer = new PrometheusSerializer('', false, constantLabels, false, true);
  readonly #server = createServer(({ url = '' }, response) => {
    if (url.split('?')[0] === '/metrics') void this.#answer(response);
    else response.writeHead(404).end('metrics are at /metrics\n');
  });

  constructor({ host, port }: HostPort) {
    super();
    this.#server.on('error', (error) => diag.error(`metrics cannot be served at ${host}:${port}`, String(error)));
    this.#server.listen({ host, port }).unref();
  }

  async #answer(response: ServerResponse): Promise<void> {
    try {
      const { resourceMetrics, errors } = await this.collect();
      if (errors.length > 0) diag.warn('some metrics could not be read', ...errors.map(String));
      response.writeHead(200, { 'content-type': contentType }).end(this.#serializer.serialize(named(resourceMetrics)));
    } catch (error) {
      diag.warn('metrics could not be read', String(error));
      response.writeHead(500).end('metrics could not be read: see the agent’s standard error\n');
    }
  }

  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  protected override onShutdown(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}

/** The serializer makes words of the names, but adds no units. */
function named({ resource, scopeMetrics }: ResourceMetrics): ResourceMetrics {
  return {
    resource,
    scopeMetrics: scopeMetrics.map(({ scope, metrics }) => ({
      scope,
      metrics: metrics.map((metric) => {
        const { descriptor, dataPointType } = metric;
        const isCounter = dataPointType === DataPointType.SUM && metric.isMonotonic;
        const name = prometheusName({ ...descriptor, kind: isCounter ? 'counter' : 'gauge' });
        // A comment that Prometheus' text format does not have.
        return { ...metric, descriptor: { ...descriptor, name, unit: '' } };
      }),
    })),
  };
}
