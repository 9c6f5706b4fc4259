-- host-drop-job.lua: removes the job of a host that is gone for good, unless its lease has not run out. The migration's record stays for a while.
-- KEYS  1 slot   2 lease   3 record of the slot's migration
-- ARGV  1 migration that the caller has read   2 record's time to live, s
-- Replies {"dropped"} | {"leased"} | {"changed"}
if redis.call('EXISTS', KEYS[2]) == 1 then return { 'leased' } end
if (redis.call('HGET', KEYS[1], 'migration') or '') ~= ARGV[1] then return { 'changed' } end
redis.call('DEL', KEYS[1])
redis.call('EXPIRE', KEYS[3], ARGV[2])
return { 'dropped' }
