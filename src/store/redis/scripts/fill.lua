-- KEYS[4], ARGV[3] to [5] as in set.lua; [6] token

local generation, why = held_lease(ARGV[6])
if not generation then
  drop_aside()
  return why
end
keep_marker(tonumber(ARGV[3]))
if not store(generation) then return 'ASIDE_MISSING' end
redis.call('DEL', KEYS[3])
return 'STORED'
