-- ARGV[3] token

local generation, reason = held_lease(ARGV[3])
if not generation then return reason end
redis.call('DEL', KEYS[2], KEYS[3])
return 'HELD'
