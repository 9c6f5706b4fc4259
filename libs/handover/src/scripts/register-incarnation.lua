-- register-incarnation.lua: which incarnation of Redis answers.
-- KEYS  none
-- ARGV  none
-- Replies {"alive", incarnation}
return { 'alive', incarnation }
