-- short-end.lua: ends a short job, if the caller still has it.
-- KEYS  1 short job
-- ARGV  1 token
-- Replies {"ok"} | {"lease-lost"}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return { 'lease-lost' } end
redis.call('DEL', KEYS[1])
return { 'ok' }
