-- KEYS[4], ARGV[4] to [6] as in set.lua; [7] token; [8] positions of the lease and of the marker
-- between which the caller has checked the bans

local marker, granted_at = held_lease(ARGV[7])
if not marker or granted_at .. position_of(marker) ~= ARGV[8] then
  drop_staged()
  return marker and {'CHECK_LEASE', marker, granted_at} or granted_at
end
keep_marker(tonumber(ARGV[4]))
if not store(marker) then return 'STAGED_MISSING' end
redis.call('DEL', KEYS[3])
return 'STORED'
