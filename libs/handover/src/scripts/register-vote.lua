-- register-vote.lua: the source's vote: it has stopped the guest for good, and leaves the choice to the register.
-- spec/handover.pml: voteIn. What an older life of Redis was told is void.
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record
-- ARGV  1 incarnation meant   2 time to live, s   3 "ran" | "paused": whether the guest ran until it was stopped   4 run
-- Replies {"undecided" | "committed" | "aborted"} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[4] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote')
local answer = recorded[2] == incarnation and recorded[1] or 'undecided'
redis.call('HSET', KEYS[1], 'decision', answer, 'vote', incarnation, 'guest', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { answer }
