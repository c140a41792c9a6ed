-- ARGV[4] token, [5] back-off in milliseconds, [6] cause

local lease = redis.call('GET', KEYS[3])
if not lease or string.sub(lease, 1, 17) ~= 'L' .. ARGV[4] then return 'LEASE_LOST' end
end_lease(lease, ARGV[5], ARGV[6])
return 'ABANDONED'
