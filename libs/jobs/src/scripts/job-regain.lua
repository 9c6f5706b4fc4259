-- job-regain.lua: the process that held a job takes it back: the lease ran out while Redis was away, or Redis has forgotten the job, or
-- remembers an older one. A domain has one agent of a kind on a host, so what that agent's name is on is its to replace.
-- KEYS  1 slot   2 lease   3 record   4 short job
-- ARGV  1 token   2 lease ms   3 migration id   4 kind   5 owner   6 instance   7 started at, ms   8 domain
--       9 short jobs allowed meanwhile   10 phase   11 executing, "yes" | "no"   12… option name, option value
-- Replies {"ok"} | {"already-migrating", migration id, kind, phase, owner} | {"short-job", kind, api, owner}
local slot = redis.call('HMGET', KEYS[1], 'migration', 'kind', 'phase', 'owner')
if slot[1] and slot[4] ~= ARGV[5] then return { 'already-migrating', slot[1], slot[2], slot[3], slot[4] } end
if not slot[1] then
  local short = redis.call('HMGET', KEYS[4], 'kind', 'api', 'owner')
  if short[1] and not string.find(ARGV[9], ' ' .. short[1] .. ' ', 1, true) then
    return { 'short-job', short[1], short[2], short[3] }
  end
end

redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'migration', ARGV[3], 'kind', ARGV[4], 'phase', ARGV[10], 'owner', ARGV[5],
  'instance', ARGV[6], 'token', ARGV[1], 'executing', ARGV[11], 'allowed', ARGV[9])
redis.call('HSET', KEYS[3], 'migration', ARGV[3], 'kind', ARGV[4], 'phase', ARGV[10], 'owner', ARGV[5],
  'token', ARGV[1], 'domain', ARGV[8], 'startedAtMs', ARGV[7])
redis.call('HDEL', KEYS[3], 'outcome', 'finishedBy', 'finishedAtMs')
for i = 12, #ARGV, 2 do redis.call('HSET', KEYS[3], 'option:' .. ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'ok' }
