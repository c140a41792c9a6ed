-- KEYS[4], ARGV[4] to [6] as in set.lua; [7] token

local generation, reason = held_lease(ARGV[7])
if not generation then
  drop_staged()
  return reason
end
keep_marker(tonumber(ARGV[4]))
if not store(generation) then return 'STAGED_MISSING' end
redis.call('DEL', KEYS[3])
return 'STORED'
