-- owner-assert.lua: a guest whose migration is in doubt belongs to the source where Redis has lost the record, so that nobody starts it elsewhere.
-- Such a record is tentative: a real claim of the source, a guest that is seen running, and what the migration's agents decide replace it.
-- A record of this life of Redis that names nobody stays: the guest was seen to end, or a person has said so. spec/owner.pml: assert.
-- KEYS  1 owner (hash)
-- ARGV  1 host of the source   2 domain's name   3 migration id   4 evidence
-- Replies {"asserted" | "owner", host or "", epoch, evidence, since in ms, name, incarnation it is written under, migration in doubt or ""}
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'name', 'incarnation', 'doubt')
local ours = known[7] == ARGV[3]
if ours and known[6] ~= incarnation then redis.call('HSET', KEYS[1], 'incarnation', incarnation) end
if ours then return { 'asserted', known[1], known[2], known[3], known[4], known[5] or '', incarnation, ARGV[3] } end
if known[1] or (known[2] and known[6] == incarnation) then
  return { 'owner', known[1] or '', known[2], known[3], known[4], known[5] or '', known[6] or '', known[7] or '' }
end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1) .. ''
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'host', ARGV[1], 'name', ARGV[2], 'evidence', ARGV[4], 'sinceMs', nowMs)
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'doubt', ARGV[3], 'how', 'assert')
return { 'asserted', ARGV[1], epoch, ARGV[4], nowMs, ARGV[2], incarnation, ARGV[3] }
