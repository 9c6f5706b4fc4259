-- owner-look.lua: who owns a guest, since when, and on what evidence; or since when and why nobody does.
-- KEYS  1 owner
-- ARGV  none
-- Replies {"none"} | {"owner", host or "", epoch, evidence, since in ms, name or "", incarnation it was written under, migration in doubt or "",
--         how it became the host's: "start" | "keep" | "seen" | "decided" (claims) | "commit" | "assert" | ""}
local known = redis.call('HMGET', KEYS[1], 'host', 'epoch', 'evidence', 'sinceMs', 'name', 'incarnation', 'doubt', 'how')
if not known[2] then return { 'none' } end
return { 'owner', known[1] or '', known[2], known[3], known[4], known[5] or '', known[6] or '', known[7] or '', known[8] or '' }
