-- register-look.lua: what the register knows, without deciding anything.
-- KEYS  1 record
-- ARGV  none
-- Replies {"none" | "undecided" | "committed" | "aborted", incarnation of the vote or ""}
-- A vote of another life of Redis than the one that answers is void: "none", with that life named.
local recorded = redis.call('HMGET', KEYS[1], 'decision', 'vote')
if recorded[2] ~= incarnation then return { 'none', recorded[2] or '' } end
return { recorded[1], recorded[2] }
