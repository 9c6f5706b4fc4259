-- job-finish.lua: ends a job: slot and lease go, the record stays for a while with how it ended.
-- KEYS  1 slot   2 lease   3 record
-- ARGV  1 token   2 record's time to live, s   3 outcome   4 finished at, ms   5 phase answered ("" for none)
--       6 reply, bytes   7 migration id   8 kind   9 owner   10 domain   11… record name, record value
-- Replies {"ok"} | {"lease-lost"}
if redis.call('HGET', KEYS[3], 'finishedBy') == ARGV[1] then return { 'ok' } end -- sent again after a lost connection
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return { 'lease-lost' } end
redis.call('HSET', KEYS[3], 'outcome', ARGV[3], 'finishedAtMs', ARGV[4], 'finishedBy', ARGV[1])
-- Redis may have evicted the record: without these fields it could not be decoded.
redis.call('HSETNX', KEYS[3], 'migration', ARGV[7])
redis.call('HSETNX', KEYS[3], 'kind', ARGV[8])
redis.call('HSETNX', KEYS[3], 'owner', ARGV[9])
redis.call('HSETNX', KEYS[3], 'domain', ARGV[10])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], 'reply:' .. ARGV[5], ARGV[6]) end
for i = 11, #ARGV, 2 do redis.call('HSET', KEYS[3], 'record:' .. ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[1], KEYS[2])
return { 'ok' }
