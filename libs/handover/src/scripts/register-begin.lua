-- register-begin.lua: makes a migration's record, or adds one side to it. Nobody begins after a vote or a decision: a record
-- that has one is of an earlier run under the same id, whose decision would be taken for this one's.
-- Each run of an id has its own nonce, which the record keeps: one that was begun before, and was never voted for or decided, is not joined either.
-- The source's begin notes the epoch of its ownership, so that a commit finds out whether that has ended since. A guest that nobody owns is
-- the source's: Redis has lost the record, for a guest is claimed before it is sent (spec/owner.pml: begin).
-- KEYS  1 record (hash)   2 owner of the domain (hash)
-- ARGV  1 incarnation meant   2 time to live, s   3 side, "source" | "dest"   4 its host   5 its agent's address
--       6 "make": the record may be new | "join": it must be there   7 run
-- A record has one destination: another host that would join as such is refused, or the source would ask the one and another would commit.
-- Replies {"ok", source's address, destination's address} | {"prepared-elsewhere", host} | {"migration-id-used", decision, "begun" or ""} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
local exists = redis.call('EXISTS', KEYS[1]) == 1
if ARGV[6] == 'join' and not exists then return { 'forgotten', incarnation } end
local before = redis.call('HMGET', KEYS[1], 'vote', 'decision', 'destHost', 'run')
if before[1] or before[2] then return { 'migration-id-used', before[2] or '' } end
local destHost = before[3]
if ARGV[3] == 'dest' and destHost and destHost ~= ARGV[4] then return { 'prepared-elsewhere', destHost } end
local ofAnotherRun = exists and (before[4] or '') ~= ARGV[7]
if ofAnotherRun and ARGV[6] == 'join' then return { 'forgotten', incarnation } end
if ofAnotherRun then return { 'migration-id-used', 'begun' } end
redis.call('HSET', KEYS[1], 'begunUnder', incarnation, 'run', ARGV[7], ARGV[3] .. 'Host', ARGV[4], ARGV[3] .. 'Address', ARGV[5])
if ARGV[3] == 'source' then
  if not redis.call('HGET', KEYS[2], 'host') then
    local time = redis.call('TIME')
    local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
    redis.call('HINCRBY', KEYS[2], 'epoch', 1)
    redis.call('HSET', KEYS[2], 'host', ARGV[4], 'evidence', 'about to leave host ' .. ARGV[4])
    redis.call('HSET', KEYS[2], 'sinceMs', nowMs, 'incarnation', incarnation, 'how', 'keep')
    redis.call('PERSIST', KEYS[2])
  end
  redis.call('HSETNX', KEYS[1], 'ownerEpoch', redis.call('HGET', KEYS[2], 'epoch'))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local addresses = redis.call('HMGET', KEYS[1], 'sourceAddress', 'destAddress')
return { 'ok', addresses[1] or '', addresses[2] or '' }
