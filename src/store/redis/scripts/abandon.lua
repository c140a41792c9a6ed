-- ARGV[4] token, [5] back-off in milliseconds, [6] cause; [7] as [8] in fill.lua, or '' for a lease
-- that is known to be banned

local lease = redis.call('GET', KEYS[3])
if not lease or string.sub(lease, 1, 17) ~= 'L' .. ARGV[4] then return 'LEASE_LOST' end
if ARGV[7] ~= '' then
  local marker, granted_at = held_lease(ARGV[4])
  if not marker then return 'LEASE_LOST' end
  local range = granted_at .. position_of(marker)
  if range ~= ARGV[7] then return {'CHECK_LEASE', marker, granted_at} end
end
end_lease(lease, ARGV[5], ARGV[6])
return 'ABANDONED'
