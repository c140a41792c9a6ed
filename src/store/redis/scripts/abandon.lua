-- ARGV[3] token, [4] back-off in milliseconds, [5] cause

local lease = redis.call('GET', KEYS[3])
if not lease or string.sub(lease, 1, 17) ~= 'L' .. ARGV[3] then return 'LEASE_LOST' end
end_lease(lease, ARGV[4], ARGV[5])
return 'ABANDONED'
