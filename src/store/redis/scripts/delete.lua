-- ARGV[4] hold-off in milliseconds, in which no fill is accepted; [5] version of 8 bytes that the
-- entry must have, or ''; [6] 1 to return the entry

local entry, _, unchecked = valid_header(redis.call('GET', KEYS[1]))
-- Without a condition, the check of the bans only decides whether there was an entry.
if unchecked and (ARGV[5] ~= '' or ARGV[6] == '1') then return unchecked end
if ARGV[5] ~= '' then
  if not entry then return 'ABSENT' end
  if string.sub(entry, 34, 41) ~= ARGV[5] then return 'OTHER_VERSION' end
end
local value = entry and ARGV[6] == '1' and redis.call('GET', KEYS[2])
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
if value then return {'EXISTED', value} end
return entry and 'EXISTED' or 'ABSENT'
