-- ARGV[3] lifetime of the key, [4] time that the value is fresh, both in milliseconds; [5] stale windows as stored

local entry = valid_entry(redis.call('GET', KEYS[1]))
if not entry or fresh_until(entry) <= now or string.byte(entry, 58) == 3 then return {'ABSENT'} end
keep_marker(tonumber(ARGV[3]))
local touched = string.sub(entry, 1, 25) .. struct.pack('>I8', now + ARGV[4]) .. string.sub(entry, 34, 41)
  .. ARGV[5] .. string.sub(entry, 58)
redis.call('SET', KEYS[2], touched, 'PX', ARGV[3])
return {'TOUCHED'}
