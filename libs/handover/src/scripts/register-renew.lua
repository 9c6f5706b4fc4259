-- register-renew.lua: whether this life of Redis still has the record that both sides count on. Makes none.
-- KEYS  1 record
-- ARGV  1 incarnation meant   2 time to live, s
-- Replies {"ok", source's address, destination's address} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXPIRE', KEYS[1], ARGV[2]) == 0 then return { 'forgotten', incarnation } end
local addresses = redis.call('HMGET', KEYS[1], 'sourceAddress', 'destAddress')
return { 'ok', addresses[1] or '', addresses[2] or '' }
