-- KEYS[4], ARGV[3] to [5] as in set.lua; [6] token

local generation, reason = held_lease(ARGV[6])
if not generation then
  drop_staged()
  return reason
end
keep_marker(tonumber(ARGV[3]))
if not store(generation) then return 'STAGED_MISSING' end
redis.call('DEL', KEYS[3])
return 'STORED'
