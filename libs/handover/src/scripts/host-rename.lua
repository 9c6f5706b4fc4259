-- host-rename.lua: one key of a host that has another name now: what was kept under the old name is kept under the new one. What names another host stays.
-- KEYS  1 key   2 the key under the new name; the same for a record that has the name inside
-- ARGV  1 old name   2 new name
-- Replies {"ok"}
local old, new = ARGV[1], ARGV[2]
if KEYS[1] ~= KEYS[2] then
  if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 1 then return { 'ok' } end
  redis.call('RENAME', KEYS[1], KEYS[2])
end
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return { 'ok' } end
for _, field in ipairs({ 'host', 'sourceHost', 'destHost' }) do
  if redis.call('HGET', KEYS[2], field) == old then redis.call('HSET', KEYS[2], field, new) end
end
for _, agent in ipairs({ 'source-agent@', 'dest-agent@' }) do
  if redis.call('HGET', KEYS[2], 'owner') == agent .. old then redis.call('HSET', KEYS[2], 'owner', agent .. new) end
end
return { 'ok' }
