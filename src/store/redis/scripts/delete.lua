-- ARGV[3] time in milliseconds in which no fill is taken

local entry = valid_header(redis.call('GET', KEYS[1]))
local hold_off = tonumber(ARGV[3])
if hold_off > 0 then
  -- Before the entry goes: without memory for this, nothing must have happened. It does not belong to a generation.
  local lease = redis.call('GET', KEYS[3])
  if not (lease and string.sub(lease, 1, 1) == 'H' and redis.call('PTTL', KEYS[3]) > hold_off) then
    redis.call('SET', KEYS[3], 'H', 'PX', hold_off)
  end
else
  void_lease('D')
end
redis.call('DEL', KEYS[2])
return entry and 'EXISTED' or 'ABSENT'
