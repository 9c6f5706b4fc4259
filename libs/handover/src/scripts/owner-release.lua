-- owner-release.lua: nobody owns the guest any more, if the record is still the one that the caller has seen.
-- spec/owner.pml: release. The epoch stays, so that whoever comes late with an older one is refused.
-- KEYS  1 owner
-- ARGV  1 host that owns it   2 epoch seen   3 why   4 time to live, s   5 since when, seen   6 incarnation it was written under, seen
-- Replies {"released" | "changed", host or "", epoch, evidence, since in ms, name, incarnation it was written under,
--         migration in doubt or "", how: as owner-look.lua has it} | {"none"}
-- The epoch alone does not do: where Redis has lost a claim the same epoch is given again, at another time; and a claim that is lost may be
-- followed by one that leaves all as it is but the incarnation.
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'name', 'incarnation', 'doubt', 'how')
if not known[2] then return { 'none' } end
local asSeen = known[1] == ARGV[1] and known[2] == ARGV[2] and known[4] == ARGV[5] and (known[6] or '') == ARGV[6]
if not asSeen then
  return { 'changed', known[1] or '', known[2], known[3], known[4], known[5] or '', known[6] or '', known[7] or '', known[8] or '' }
end
local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HDEL', KEYS[1], 'host', 'doubt', 'how')
redis.call('HSET', KEYS[1], 'evidence', ARGV[3], 'sinceMs', nowMs, 'incarnation', incarnation)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return { 'released', '', known[2], ARGV[3], nowMs, known[5] or '', incarnation }
