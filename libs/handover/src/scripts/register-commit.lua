-- register-commit.lua: decides that the destination runs the guest, unless the register has decided already, and makes the
-- destination its owner. spec/handover.pml: decide(COMMITTED); with a carried vote, voteIn and then decide, in one step.
-- If the guest is not the source's as it was when the source began (spec/owner.pml, commit: somebody said that the source is gone, and it may run elsewhere), "aborted".
-- A record that another destination has joined since, or none, is not the one that this host has joined: "forgotten".
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record   2 owner of the domain (hash)
-- ARGV  1 incarnation meant   2 time to live, s   3 "carried" | "recorded": where the source's vote is
--       4 host of the destination   5 evidence   6 with a carried vote: "ran" | "paused", as register-vote.lua   7 migration id   8 run
-- Replies {"committed", grant, "ran" | "paused" | ""} | {"aborted"} | {"vote-missing"} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[8] then return { 'forgotten', incarnation } end
if redis.call('HGET', KEYS[1], 'destHost') ~= ARGV[4] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote', 'sourceHost', 'ownerEpoch', 'guest')
local voted = recorded[2] == incarnation -- else what is recorded is void
local guest = ARGV[3] == 'carried' and ARGV[6] or recorded[5] or ''
if not voted and ARGV[3] ~= 'carried' then return { 'vote-missing' } end
if voted and recorded[1] == 'aborted' then return { 'aborted' } end
if voted and recorded[1] == 'committed' then
  return { 'committed', string.format('%d', redis.call('HINCRBY', KEYS[1], 'grant', 1)), guest }
end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local owner = redis.call('HMGET', KEYS[2], 'host', 'epoch', 'doubt')
-- Redis had lost the owner, and the agents have asserted that this migration has the guest.
local asserted = owner[3] == ARGV[7] and owner[1] == recorded[3]
local asItWas = asserted or (owner[1] == recorded[3] and owner[2] == recorded[4])
local moved = owner[2] and not asItWas and owner[1] ~= ARGV[4]
local decision = moved and 'aborted' or 'committed'
redis.call('HSET', KEYS[1], 'decision', decision, 'vote', incarnation, 'decidedAtMs', nowMs, 'guest', guest)
redis.call('EXPIRE', KEYS[1], ARGV[2])
if moved then return { 'aborted' } end
redis.call('HSET', KEYS[1], 'grantedEpoch', redis.call('HINCRBY', KEYS[2], 'epoch', 1))
redis.call('HSET', KEYS[2], 'host', ARGV[4], 'evidence', ARGV[5], 'sinceMs', nowMs, 'incarnation', incarnation, 'how', 'commit')
redis.call('HDEL', KEYS[2], 'doubt')
redis.call('PERSIST', KEYS[2])
return { 'committed', string.format('%d', redis.call('HINCRBY', KEYS[1], 'grant', 1)), guest }
