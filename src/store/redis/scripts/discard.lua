-- ARGV[3] token

local generation, why = held_lease(ARGV[3])
if not generation then return why end
redis.call('DEL', KEYS[2], KEYS[3])
return 'HELD'
