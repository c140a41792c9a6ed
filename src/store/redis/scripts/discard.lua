-- ARGV[3] token, [4] back-off in milliseconds, [5] cause

local generation, reason = held_lease(ARGV[3])
if not generation then return reason end
redis.call('DEL', KEYS[2])
end_lease(redis.call('GET', KEYS[3]), ARGV[4], ARGV[5])
return 'HELD'
