-- register-look.lua: what the register knows, without deciding anything.
-- KEYS  1 record
-- ARGV  none
-- Replies {"none" | "undecided" | "committed" | "aborted", incarnation of the vote or "" [, run: there is a record]}
-- A vote of another life of Redis than the one that answers is void: "none", with that life named.
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'none', '' } end
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote', 'run')
local nonce = recorded[3] or ''
if recorded[2] ~= incarnation then return { 'none', recorded[2] or '', nonce } end
return { recorded[1], recorded[2], nonce }
