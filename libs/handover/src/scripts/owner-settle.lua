-- owner-settle.lua: a migration is in doubt no longer: what was asserted for it becomes an ordinary record of the host that has the guest by its
-- decision. spec/owner.pml: settle.
-- KEYS  1 owner (hash)
-- ARGV  1 migration id   2 host   3 evidence   4 host whose ordinary record is given to host 2 as well, or ""
-- Replies {"ok"}
local known = redis.call('HMGET', KEYS[1], 'host', 'doubt')
if known[2] ~= ARGV[1] and (ARGV[4] == '' or known[1] ~= ARGV[4]) then return { 'ok' } end
redis.call('HDEL', KEYS[1], 'doubt')
if known[1] == ARGV[2] then return { 'ok' } end
local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'host', ARGV[2], 'evidence', ARGV[3], 'sinceMs', nowMs, 'how', 'decided')
return { 'ok' }
