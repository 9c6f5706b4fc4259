-- host-forget.lua: drops the registration of a host that is gone for good, unless its agents are alive or the name is another host's by now.
-- KEYS  1 the name's UUID (string)   2 likewise, while that host is alive   3 the UUID's name (string)
-- ARGV  1 UUID that the caller has read   2 name
-- Replies {"forgotten"} | {"alive"} | {"changed"}
if redis.call('EXISTS', KEYS[2]) == 1 then return { 'alive' } end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return { 'changed' } end
redis.call('DEL', KEYS[1])
-- A host that was renamed has its UUID under its new name.
if redis.call('GET', KEYS[3]) == ARGV[2] then redis.call('DEL', KEYS[3]) end
return { 'forgotten' }
