-- ARGV[4] token, [5] back-off in milliseconds, [6] cause, [7] as [8] in fill.lua

local marker, granted_at = held_lease(ARGV[4])
if not marker then return granted_at end
if granted_at .. position_of(marker) ~= ARGV[7] then return {'CHECK_LEASE', marker, granted_at} end
redis.call('DEL', KEYS[2])
end_lease(redis.call('GET', KEYS[3]), ARGV[5], ARGV[6])
return 'HELD'
