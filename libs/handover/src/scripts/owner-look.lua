-- owner-look.lua: who owns a guest, since when, and on what evidence.
-- KEYS  1 owner
-- ARGV  none
-- Replies {"none"} | {"owner", host, epoch, evidence, since in ms}
local owner = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs')
if not owner[1] then return { 'none' } end
return { 'owner', owner[1], owner[2], owner[3], owner[4] }
