-- register-withdraw.lua: the destination's QEMU has refused to start the guest: the commit is taken back, unless the source goes by it,
-- or it was granted anew since. Else as register-abort.lua. spec/handover.pml: withdraw.
-- A record that another destination has joined since, or none, is not the one that this host has joined: "forgotten".
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record
-- ARGV  1 incarnation meant   2 time to live, s   3 grant meant   4 host of the destination   5 run
-- Replies {"committed", grant, "ran" | "paused" | ""} | {"aborted"} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[5] then return { 'forgotten', incarnation } end
if redis.call('HGET', KEYS[1], 'destHost') ~= ARGV[4] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote', 'grant', 'binding', 'guest')
local voted = recorded[2] == incarnation -- else what is recorded is void
if voted and recorded[1] == 'aborted' then return { 'aborted' } end
local holds = recorded[4] or recorded[3] ~= ARGV[3]
if voted and recorded[1] == 'committed' and holds then return { 'committed', recorded[3] or '0', recorded[5] or '' } end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'decision', 'aborted', 'vote', incarnation, 'decidedAtMs', nowMs)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { 'aborted' }
