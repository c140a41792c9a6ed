-- ARGV[4] hold-off in milliseconds, in which no fill is accepted

local entry, _, unchecked = valid_header(redis.call('GET', KEYS[1]))
local hold_off = tonumber(ARGV[4])
if hold_off > 0 then
  -- Set before the entry is deleted: if there is no memory for it, nothing must have changed. The
  -- hold-off belongs to no generation.
  local lease = redis.call('GET', KEYS[3])
  local is_held_off = lease and string.sub(lease, 1, 1) == 'H'
  if not (is_held_off and time_left(lease, 2) > hold_off) then
    redis.call('SET', KEYS[3], 'H' .. stamp(hold_off), 'PX', hold_off)
  end
else
  void_lease('D')
end
redis.call('DEL', KEYS[2])
if unchecked then return unchecked end
return entry and 'EXISTED' or 'ABSENT'
