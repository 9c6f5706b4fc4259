export { openRedis, waitForRedis } from './connect.ts';
export { lackingSettings } from './settings.ts';
export { isReadableOnTheWay, parseRedisUrl, type RedisPlace, RedisUrlError } from './url.ts';
