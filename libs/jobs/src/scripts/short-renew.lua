-- short-renew.lua: makes a short job last longer, if the caller still has it.
-- KEYS  1 short job
-- ARGV  1 token   2 lease ms
-- Replies {"ok"} | {"lease-lost"}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return { 'lease-lost' } end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 'ok' }
