-- job-adopt.lua: takes over an abandoned job with a new token: its lease has run out, or an earlier process of the same
-- agent held it.
-- KEYS  1 slot   2 lease   3 record
-- ARGV  1 token   2 lease ms   3 migration id   4 kind   5 owner   6 instance   7 short jobs allowed meanwhile   8 domain
-- Replies {"adopted", phase, started at in ms, option name, option value…} | {"none"} (no such job) | {"held", owner}
local slot = redis.call('HMGET', KEYS[1], 'migration', 'kind', 'owner', 'instance')
if slot[1] ~= ARGV[3] or slot[2] ~= ARGV[4] then return { 'none' } end
local lease = redis.call('GET', KEYS[2])
local earlierProcess = slot[3] == ARGV[5] and slot[4] ~= ARGV[6]
if lease and lease ~= ARGV[1] and not earlierProcess then return { 'held', slot[3] } end

redis.call('HSET', KEYS[1], 'owner', ARGV[5], 'instance', ARGV[6], 'token', ARGV[1], 'executing', 'yes', 'allowed', ARGV[7])
-- Redis may have evicted the record: without the last three it could not be decoded.
redis.call('HSET', KEYS[3], 'owner', ARGV[5], 'token', ARGV[1], 'migration', ARGV[3], 'kind', ARGV[4], 'domain', ARGV[8])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local reply = { 'adopted', redis.call('HGET', KEYS[1], 'phase'), redis.call('HGET', KEYS[3], 'startedAtMs') or '0' }
local record = redis.call('HGETALL', KEYS[3])
for i = 1, #record, 2 do
  if string.sub(record[i], 1, 7) == 'option:' then
    reply[#reply + 1] = string.sub(record[i], 8)
    reply[#reply + 1] = record[i + 1]
  end
end
return reply
