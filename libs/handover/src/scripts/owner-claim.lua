-- owner-claim.lua: makes a host the owner of a guest, unless another host owns it.
-- spec/owner.pml: claim.
-- KEYS  1 owner (hash)
-- ARGV  1 host   2 domain's name   3 evidence
--       4 "start": the guest begins anew here | "keep": it is here already | "seen": it was seen running here
-- Replies {"ok", host, epoch, evidence, since in ms, name, incarnation it is written under} | {"owned", likewise}
-- A record that an older life of Redis wrote may be behind; a guest that was seen running is the better evidence.
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'incarnation', 'name')
local mine = known[1] == ARGV[1]
local behind = ARGV[4] == 'seen' and known[5] ~= incarnation
if known[1] and not mine and not behind then
  return { 'owned', known[1], known[2], known[3], known[4], ARGV[2], known[5] or '' }
end
local asItIs = mine and ARGV[4] ~= 'start'
-- A host looks at its guests every few seconds: what changes nothing writes nothing.
if not (asItIs and known[5] == incarnation and known[6] == ARGV[2]) then
  redis.call('HSET', KEYS[1], 'name', ARGV[2], 'incarnation', incarnation)
end
if asItIs then return { 'ok', known[1], known[2], known[3], known[4], ARGV[2], incarnation } end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1) .. ''
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'host', ARGV[1], 'evidence', ARGV[3], 'sinceMs', nowMs)
return { 'ok', ARGV[1], epoch, ARGV[3], nowMs, ARGV[2], incarnation }
