-- job-phase.lua: moves a job to its next phase and renews its lease, if the caller still holds it.
-- KEYS  1 slot   2 lease   3 record
-- ARGV  1 token   2 lease ms   3 phase next   4 step (unique to this call)   5 "start" | "set"   6… phases it may follow
-- Replies {"ok"} | {"lease-lost"} | {"phase-out-of-order", phase recorded, step recorded}
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return { 'lease-lost' } end
-- A slot that Redis has evicted is made whole again by job-regain.lua, and not by halves here: nobody would take over, or end, what has no migration.
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'lease-lost' } end
local recorded = redis.call('HMGET', KEYS[3], 'phase', 'step')
if recorded[2] == ARGV[4] then return { 'ok' } end -- sent again after a lost connection
local allowed = false
for i = 6, #ARGV do allowed = allowed or ARGV[i] == recorded[1] end
if not allowed then return { 'phase-out-of-order', recorded[1] or 'none', recorded[2] or '' } end

redis.call('HSET', KEYS[3], 'phase', ARGV[3], 'step', ARGV[4])
redis.call('HSET', KEYS[1], 'phase', ARGV[3])
if ARGV[5] == 'start' then redis.call('HSET', KEYS[1], 'executing', 'yes') end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { 'ok' }
