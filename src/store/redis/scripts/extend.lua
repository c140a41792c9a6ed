-- ARGV[3] token, [4] lifetime of the lease in milliseconds

local generation, why = held_lease(ARGV[3])
if not generation then return why end
keep_marker(tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 'HELD'
