-- job-start.lua: takes a domain's one async job on this host, with a fresh lease and a fresh record.
-- KEYS  1 slot (hash: the async job that holds the domain)   2 lease (string, expires)
--       3 record of this migration (hash, outlives the lease)   4 short job (hash, expires)
-- ARGV  1 token   2 lease ms   3 migration id   4 kind   5 owner   6 instance   7 started at, ms   8 domain
--       9 short jobs allowed meanwhile, a space before and after each   10… option name, option value
-- Replies {"ok"} | {"already-migrating", migration id, kind, phase, owner}
--       | {"short-job", kind, api, owner} | {"ended", outcome}
local slot = redis.call('HMGET', KEYS[1], 'migration', 'kind', 'phase', 'owner', 'instance', 'token')
if slot[6] == ARGV[1] then return { 'ok' } end -- the same call, sent again by the client after a lost connection
-- Taken by a call of this very process whose reply was lost: no phase has begun, and the process holds no such job.
local orphan = slot[5] == ARGV[6] and slot[3] == 'none'
if slot[1] and not orphan then return { 'already-migrating', slot[1], slot[2], slot[3], slot[4] } end
local short = redis.call('HMGET', KEYS[4], 'kind', 'api', 'owner')
if short[1] then return { 'short-job', short[1], short[2], short[3] } end
local outcome = redis.call('HGET', KEYS[3], 'outcome')
if outcome then return { 'ended', outcome } end

redis.call('DEL', KEYS[1], KEYS[3])
redis.call('HSET', KEYS[1], 'migration', ARGV[3], 'kind', ARGV[4], 'phase', 'none', 'owner', ARGV[5],
  'instance', ARGV[6], 'token', ARGV[1], 'executing', 'yes', 'allowed', ARGV[9])
redis.call('HSET', KEYS[3], 'migration', ARGV[3], 'kind', ARGV[4], 'phase', 'none', 'owner', ARGV[5],
  'token', ARGV[1], 'domain', ARGV[8], 'startedAtMs', ARGV[7])
for i = 10, #ARGV, 2 do redis.call('HSET', KEYS[3], 'option:' .. ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'ok' }
