-- ARGV[3] token, [4] lifetime of the lease in milliseconds

local generation, reason = held_lease(ARGV[3])
if not generation then return reason end
keep_marker(tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 'HELD'
