-- host-register.lua: notes that a host of this name and UUID is alive, unless either is another living host's, or a name's host has left things behind.
-- KEYS  1 the name's UUID (string)   2 likewise, while that host is alive   3 the UUID's name (string)   4 likewise, while that host is alive
-- ARGV  1 UUID   2 how long it counts as alive, ms   3 name   4 "take": nothing is left under the name, or of the host, that was known | "ask"
-- Replies {"ok"} | {"taken", UUID that is alive under this name} | {"cloned", name under which this UUID is alive}
--       | {"left", UUID that had this name} | {"renamed", name that this UUID had}
local taken = redis.call('GET', KEYS[2])
if taken and taken ~= ARGV[1] then return { 'taken', taken } end
local cloned = redis.call('GET', KEYS[4])
if cloned and cloned ~= ARGV[3] then return { 'cloned', cloned } end
local uuid = redis.call('GET', KEYS[1])
if uuid and uuid ~= ARGV[1] and ARGV[4] ~= 'take' then return { 'left', uuid } end
local name = redis.call('GET', KEYS[3])
if name and name ~= ARGV[3] and ARGV[4] ~= 'take' then return { 'renamed', name } end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[2])
return { 'ok' }
