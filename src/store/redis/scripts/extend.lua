-- ARGV[4] token, [5] lifetime of the lease in milliseconds, [6] as [8] in fill.lua

local marker, granted_at = held_lease(ARGV[4])
if not marker then return granted_at end
if granted_at .. position_of(marker) ~= ARGV[6] then return {'CHECK_LEASE', marker, granted_at} end
keep_marker(tonumber(ARGV[5]))
-- First, because it needs no memory: then the server does not stop the script for lack of it.
redis.call('PEXPIRE', KEYS[3], ARGV[5])
redis.call('SETRANGE', KEYS[3], 33, stamp(ARGV[5]))
return 'HELD'
