-- register-incarnation.lua: which life of Redis answers.
-- KEYS  none
-- ARGV  none
-- Replies {"alive", run id}
return { 'alive', string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') }
