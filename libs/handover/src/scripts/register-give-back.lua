-- register-give-back.lua: the destination was granted its commit and may not act on it, since it has promised: the guest is the source's again.
-- The decision stays as it is recorded, for both agents are done with this register. spec/owner.pml: give back.
-- A record that another destination has joined since, or none, is not the one that this host has joined: "forgotten".
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record   2 owner of the domain (hash)
-- ARGV  1 incarnation meant   2 host of the destination   3 evidence   4 run
-- Replies {"ok"} (also if there is nothing to give back) | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[4] then return { 'forgotten', incarnation } end
if redis.call('HGET', KEYS[1], 'destHost') ~= ARGV[2] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'grantedEpoch', 'sourceHost')
local owner = redis.call('HMGET', KEYS[2], 'host', 'epoch')
if not recorded[1] or not recorded[2] or owner[1] ~= ARGV[2] or owner[2] ~= recorded[1] then return { 'ok' } end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('HDEL', KEYS[2], 'doubt')
redis.call('HSET', KEYS[2], 'host', recorded[2], 'evidence', ARGV[3], 'sinceMs', nowMs, 'incarnation', incarnation, 'how', 'decided')
return { 'ok' }
