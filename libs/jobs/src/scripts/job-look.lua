-- job-look.lua: which async job holds a domain on this host, whoever runs it.
-- KEYS  1 slot   2 lease
-- Replies {"none"} | {"job", migration id, kind, phase, owner, "yes" | "no" executing, "yes" | "no" leased}
local slot = redis.call('HMGET', KEYS[1], 'migration', 'kind', 'phase', 'owner', 'executing')
if not slot[1] then return { 'none' } end
local leased = redis.call('EXISTS', KEYS[2]) == 1 and 'yes' or 'no'
return { 'job', slot[1], slot[2], slot[3], slot[4], slot[5], leased }
