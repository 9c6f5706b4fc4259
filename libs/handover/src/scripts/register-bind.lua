-- register-bind.lua: the source has voted, and has no copy of the guest to go back to: a commit, also one that is still to come, cannot be
-- withdrawn, and whoever asks for an abort of an undecided record is told 'committed'. spec/edges.pml: bind, which records the vote too.
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record
-- ARGV  1 incarnation meant   2 time to live, s   3 "ran" | "paused", as register-vote.lua   4 run
-- Replies {"ok"} (also if it was aborted) | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[4] then return { 'forgotten', incarnation } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote')
local decision = recorded[2] == incarnation and recorded[1] or 'undecided'
if decision == 'aborted' then return { 'ok' } end
redis.call('HSET', KEYS[1], 'binding', '1', 'decision', decision, 'vote', incarnation, 'guest', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { 'ok' }
