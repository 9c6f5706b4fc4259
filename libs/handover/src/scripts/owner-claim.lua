-- owner-claim.lua: makes a host the owner of a guest, unless another host owns it.
-- spec/owner.pml: claim.
-- KEYS  1 owner (hash)
-- ARGV  1 host   2 domain's name   3 evidence
--       4 "start": the guest begins anew here | "keep": it is here already | "seen": it was seen running here
--         | "decided": the two agents of a migration have decided that the copy here continues
--       for "decided": the record as it was read before, 5 host or ""   6 epoch or ""   7 since in ms, or ""
-- Replies {"ok", host, epoch, evidence, since in ms, name, incarnation it is written under, "", how: the claim} |
--         {"owned", likewise, with the migration in doubt that a tentative record protects, or ""}
-- A record that an older life of Redis wrote may be behind; a guest that was seen running is the better evidence. So it is where the record is
-- tentative (owner-assert.lua).
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'incarnation', 'name', 'doubt', 'how')
local mine = known[1] == ARGV[1]
local over = ARGV[4] == 'seen' and (known[5] ~= incarnation or known[7])
if ARGV[4] == 'decided' then
  over = (known[1] or '') == ARGV[5] and (known[2] or '') == ARGV[6] and (known[4] or '') == ARGV[7]
end
-- What a migration in doubt has asserted is no reason to start the guest anew, on whichever host.
if mine and known[7] and ARGV[4] == 'start' then mine = false end
if known[1] and not mine and not over then
  return { 'owned', known[1], known[2], known[3], known[4], ARGV[2], known[5] or '', known[7] or '', known[8] or '' }
end
local asItIs = mine and ARGV[4] ~= 'start'
-- A host looks at its guests every few seconds: what changes nothing writes nothing.
if not (asItIs and known[5] == incarnation and known[6] == ARGV[2]) then
  redis.call('HSET', KEYS[1], 'name', ARGV[2], 'incarnation', incarnation)
end
if known[7] or not asItIs then redis.call('HDEL', KEYS[1], 'doubt') end
if asItIs then return { 'ok', known[1], known[2], known[3], known[4], ARGV[2], incarnation, '', known[8] or '' } end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1) .. ''
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'host', ARGV[1], 'evidence', ARGV[3], 'sinceMs', nowMs, 'how', ARGV[4])
return { 'ok', ARGV[1], epoch, ARGV[3], nowMs, ARGV[2], incarnation, '', ARGV[4] }
