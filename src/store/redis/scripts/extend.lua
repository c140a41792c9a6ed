-- ARGV[4] token, [5] lifetime of the lease in milliseconds

local marker, reason = held_lease(ARGV[4])
if not marker then return reason end
keep_marker(tonumber(ARGV[5]))
-- First, because it needs no memory: then the server does not stop the script for lack of it.
redis.call('PEXPIRE', KEYS[3], ARGV[5])
redis.call('SETRANGE', KEYS[3], 33, stamp(ARGV[5]))
return 'HELD'
