-- owner-claim.lua: a domain has been started on a host, which owns the guest from now on.
-- KEYS  1 owner (hash)
-- ARGV  1 host   2 evidence
-- Replies {"ok"}
local time = redis.call('TIME')
local nowMs = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'host', ARGV[1], 'evidence', ARGV[2], 'sinceMs', nowMs)
return { 'ok' }
