-- owner-look.lua: who owns a guest, since when, and on what evidence; or since when and why nobody does.
-- KEYS  1 owner
-- ARGV  none
-- Replies {"none"} | {"owner", host or "", epoch, evidence, since in ms, name or "", incarnation it was written under}
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'name', 'incarnation')
if not known[2] then return { 'none' } end
return { 'owner', known[1] or '', known[2], known[3], known[4], known[5] or '', known[6] or '' }
