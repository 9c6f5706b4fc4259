-- job-continue.lua: nobody executes the job now; it stays, and waits for its next phase. Keeps what a phase answered.
-- KEYS  1 slot   2 lease   3 record
-- ARGV  1 token   2 lease ms   3 migration id   4 kind   5 owner   6 domain   [7 phase answered   8 reply, bytes]
-- Replies {"ok"} | {"lease-lost"}
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return { 'lease-lost' } end
-- A slot that Redis has evicted is made whole again by job-regain.lua, and not by halves here: nobody would take over, or end, what has no migration.
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'lease-lost' } end
redis.call('HSET', KEYS[1], 'executing', 'no')
if #ARGV >= 8 then
  redis.call('HSET', KEYS[3], 'reply:' .. ARGV[7], ARGV[8])
  -- Redis may have evicted the record: without these fields it could not be decoded.
  redis.call('HSETNX', KEYS[3], 'migration', ARGV[3])
  redis.call('HSETNX', KEYS[3], 'kind', ARGV[4])
  redis.call('HSETNX', KEYS[3], 'owner', ARGV[5])
  redis.call('HSETNX', KEYS[3], 'domain', ARGV[6])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { 'ok' }
