-- register-abort.lua: decides that the source keeps the guest, unless the register has decided already. The owner stays as it is.
-- A source that hears 'committed' is going to end its copy, so that the commit cannot be withdrawn any more; a destination that hears it gets
-- a new grant. spec/handover.pml: abortByS, abortByD, which need no vote.
-- A source that is bound has no copy to keep: then an undecided record is committed instead (spec/edges.pml), as register-commit.lua does.
-- A record that another destination has joined since, or none, is not the one that this host has joined: "forgotten".
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record   2 owner of the domain (hash)
-- ARGV  1 incarnation meant   2 time to live, s   3 side, "source" | "dest"   4 its host   5 evidence of a commit   6 migration id   7 run
-- Replies {"committed", grant or "", "ran" | "paused" | ""} | {"aborted"} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[7] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote', 'guest', 'binding', 'destHost', 'sourceHost', 'ownerEpoch')
if ARGV[3] == 'dest' and recorded[5] ~= ARGV[4] then return { 'forgotten', incarnation } end
local voted = recorded[2] == incarnation -- else what is recorded is void
local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
if voted and recorded[1] == 'undecided' and recorded[4] and recorded[5] then
  local owner = redis.call('HMGET', KEYS[2], 'host', 'epoch', 'doubt')
  local asItWas = owner[1] == recorded[6] and (owner[2] == recorded[7] or owner[3] == ARGV[6])
  if not owner[2] or asItWas or owner[1] == recorded[5] then
    recorded[1] = 'committed'
    redis.call('HSET', KEYS[1], 'decision', 'committed', 'decidedAtMs', nowMs)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    redis.call('HSET', KEYS[1], 'grantedEpoch', redis.call('HINCRBY', KEYS[2], 'epoch', 1))
    redis.call('HSET', KEYS[2], 'host', recorded[5], 'evidence', ARGV[5], 'sinceMs', nowMs, 'incarnation', incarnation, 'how', 'commit')
    redis.call('HDEL', KEYS[2], 'doubt')
    redis.call('PERSIST', KEYS[2])
  end
end
if voted and recorded[1] == 'committed' then
  if ARGV[3] == 'dest' then
    return { 'committed', string.format('%d', redis.call('HINCRBY', KEYS[1], 'grant', 1)), recorded[3] or '' }
  end
  redis.call('HSET', KEYS[1], 'binding', '1')
  return { 'committed', '', recorded[3] or '' }
end
if voted and recorded[1] == 'aborted' then return { 'aborted' } end

redis.call('HSET', KEYS[1], 'decision', 'aborted', 'vote', incarnation, 'decidedAtMs', nowMs)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { 'aborted' }
