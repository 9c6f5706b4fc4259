import type { Disk, NetworkSource } from '../vocabulary/disk.ts';
import type { JsonObject } from './json.ts';

/** The lowest block node of a disk: what holds its bytes. Undefined for a drive without a medium. */
export function sourceNode(disk: Disk): JsonObject | undefined {
  const aio = disk.driver?.io;
  switch (disk.type) {
    case 'file':
      return disk.source && { driver: 'file', filename: disk.source.file, aio };
    case 'block':
      return disk.source && { driver: 'host_device', filename: disk.source.dev, aio };
    case 'network':
      return disk.source && networkNode(disk.source);
    default:
      return disk satisfies never;
  }
}

function networkNode(source: NetworkSource): JsonObject {
  const [host] = source.host;
  const server = serverOf(host);
  switch (source.protocol) {
    case 'nbd':
      return { driver: 'nbd', server, export: source.name, 'reconnect-delay': source.reconnect?.delay };
    case 'rbd': {
      const [pool, ...image] = source.name.split('/');
      const monitors = source.host.map((one) => ({ host: one.name, port: String(one.port ?? 6789) }));
      return {
        driver: 'rbd',
        pool,
        image: image.join('/'),
        server: monitors.length === 0 ? undefined : monitors,
        snapshot: source.snapshot?.name,
        conf: source.config?.file,
      };
    }
    case 'iscsi': {
      const [target, lun] = source.name.split('/');
      return {
        driver: 'iscsi',
        portal: `${bracketed(host?.name ?? 'localhost')}:${host?.port ?? 3260}`,
        target,
        lun: Number(lun ?? 0),
        transport: 'tcp',
        'initiator-name': source.initiator?.iqn.name,
      };
    }
    case 'http':
    case 'https':
    case 'ftp':
    case 'ftps': {
      const port = host?.port ?? { http: 80, https: 443, ftp: 21, ftps: 990 }[source.protocol];
      const isSecure = source.protocol === 'https' || source.protocol === 'ftps';
      const verify = isSecure ? source.ssl?.verify : undefined;
      const query = source.query === undefined ? '' : `?${source.query}`;
      return {
        driver: source.protocol,
        url: `${source.protocol}://${bracketed(host?.name ?? 'localhost')}:${port}/${inUrl(source.name)}${query}`,
        readahead: source.readahead?.size,
        timeout: source.timeout?.seconds,
        sslverify: verify,
      };
    }
    default:
      return source satisfies never;
  }
}

/** What would end a path is part of it (virURIFormat). */
const inUrl = (path: string): string => encodeURI(path).replaceAll('?', '%3F').replaceAll('#', '%23');

const bracketed = (name: string): string => (name.includes(':') ? `[${name}]` : name);

function serverOf(host: NetworkSource['host'][number] | undefined): JsonObject {
  if (host?.transport === 'unix') return { type: 'unix', path: host.socket };
  return { type: 'inet', host: host?.name ?? 'localhost', port: String(host?.port ?? 10809) };
}
