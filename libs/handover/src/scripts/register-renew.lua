-- register-renew.lua: whether this life of Redis still has the record that both sides count on. Makes none.
-- A record of another run of the id (another nonce) is none of this one: "forgotten". spec/edges.pml: MINE.
-- KEYS  1 record
-- ARGV  1 incarnation meant   2 time to live, s   3 run
-- Replies {"ok", source's address, destination's address} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'run') or '') ~= ARGV[3] then return { 'forgotten', incarnation } end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local addresses = redis.call('HMGET', KEYS[1], 'sourceAddress', 'destAddress')
return { 'ok', addresses[1] or '', addresses[2] or '' }
