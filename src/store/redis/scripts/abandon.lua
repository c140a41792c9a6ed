-- ARGV[3] token, [4] back-off in milliseconds, [5] cause

local lease = redis.call('GET', KEYS[3])
if not lease or string.sub(lease, 1, 17) ~= 'L' .. ARGV[3] then return 'LEASE_LOST' end
if ARGV[4] == '0' then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], 'B' .. string.sub(lease, 2, 33) .. ARGV[5], 'PX', ARGV[4])
end
return 'ABANDONED'
