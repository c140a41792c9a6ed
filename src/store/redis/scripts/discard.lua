-- ARGV[4] token, [5] back-off in milliseconds, [6] cause

local marker, reason = held_lease(ARGV[4])
if not marker then return reason end
redis.call('DEL', KEYS[2])
end_lease(redis.call('GET', KEYS[3]), ARGV[5], ARGV[6])
return 'HELD'
