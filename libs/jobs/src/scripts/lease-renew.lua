-- lease-renew.lua: makes a lease last longer, if the caller still holds it.
-- KEYS  1 lease
-- ARGV  1 token   2 lease ms
-- Replies {"ok"} | {"lease-lost"}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return { 'lease-lost' } end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 'ok' }
