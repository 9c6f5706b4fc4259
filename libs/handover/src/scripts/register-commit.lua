-- register-commit.lua: decides that the destination runs the guest, unless the register has decided already, and makes the
-- destination its owner. spec/handover.pml: decide(COMMITTED); with a carried vote, voteIn and then decide, in one step.
-- KEYS  1 record   2 owner of the domain (hash)
-- ARGV  1 incarnation meant   2 time to live, s   3 "carried" | "recorded": where the source's vote is
--       4 host of the destination   5 evidence
-- Replies {"committed" | "aborted"} | {"vote-missing"} | {"changed", run id} | {"forgotten", run id}
local incarnation = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote')
local voted = recorded[2] == incarnation -- else what is recorded is void
if not voted and ARGV[3] ~= 'carried' then return { 'vote-missing' } end
if voted and recorded[1] ~= 'undecided' then return { recorded[1] } end

local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'decision', 'committed', 'vote', incarnation, 'decidedAtMs', nowMs)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('HSET', KEYS[2], 'host', ARGV[4], 'evidence', ARGV[5], 'sinceMs', nowMs)
return { 'committed' }
