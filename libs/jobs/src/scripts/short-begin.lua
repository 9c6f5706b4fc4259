-- short-begin.lua: takes a domain's one short job on this host, if the async job's mask lets it in. A destroy takes it from
-- whatever other short job has it, which learns so when it next renews.
-- KEYS  1 slot   2 short job (hash, expires)
-- ARGV  1 token   2 lease ms   3 kind   4 api   5 owner
-- Replies {"ok"} | {"held-by-migration", migration id, kind, phase, owner} | {"held-by-short", kind, api, owner}
local slot = redis.call('HMGET', KEYS[1], 'migration', 'kind', 'phase', 'owner', 'allowed')
if slot[1] and not string.find(slot[5], ' ' .. ARGV[3] .. ' ', 1, true) then
  return { 'held-by-migration', slot[1], slot[2], slot[3], slot[4] }
end
local short = redis.call('HMGET', KEYS[2], 'kind', 'api', 'owner', 'token')
local takenOver = ARGV[3] == 'destroy' and short[1] ~= 'destroy'
if short[1] and short[4] ~= ARGV[1] and not takenOver then return { 'held-by-short', short[1], short[2], short[3] } end

redis.call('HSET', KEYS[2], 'token', ARGV[1], 'kind', ARGV[3], 'api', ARGV[4], 'owner', ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { 'ok' }
