-- register-bind.lua: the source has no copy of the guest to go back to: a commit, also one that is still to come, cannot be withdrawn.
-- spec/handover.pml: bind.
-- KEYS  1 record
-- ARGV  1 incarnation meant
-- Replies {"ok"} | {"changed", incarnation} | {"forgotten", incarnation}
if incarnation ~= ARGV[1] then return { 'changed', incarnation } end
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'forgotten', incarnation } end
redis.call('HSET', KEYS[1], 'binding', '1')
return { 'ok' }
