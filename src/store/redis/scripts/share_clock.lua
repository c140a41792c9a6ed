-- Writes the state of the clock that the replicas share. Lead and time never decrease: the state
-- that a replica has read may be outdated when it writes.
--
-- KEYS[1] the state
-- ARGV[1] lead of the clock over that of Redis, in milliseconds
-- ARGV[2] a recent time by the clock, in milliseconds
-- ARGV[3] number of shards of a namespace
-- ARGV[4] time for which Redis keeps the state, in milliseconds

local known = {}
local state = redis.call('HGETALL', KEYS[1])
for i = 1, #state, 2 do
    known[state[i]] = tonumber(state[i + 1])
end
for i, field in ipairs({'ahead', 'latest'}) do
    if not known[field] or known[field] < tonumber(ARGV[i]) then
        redis.call('HSET', KEYS[1], field, ARGV[i])
    end
end
-- Only the first of several replicas that start together writes it.
redis.call('HSETNX', KEYS[1], 'shards', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'OK'
