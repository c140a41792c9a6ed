-- ARGV[3] lifetime of the key, [4] time that the value is fresh, both in milliseconds; [5] version of 8 bytes; [6] stale windows as
-- stored; [7] extensions as stored, with their length; [8] token

local generation, why = held_lease(ARGV[8])
if not generation then return {why} end
local entry = valid_entry(generation)
if not entry or string.sub(entry, 34, 41) ~= ARGV[5] then return {'GONE'} end
keep_marker(tonumber(ARGV[3]))
local value_at = 62 + struct.unpack('>I2', entry, 60)
local confirmed = FORMAT .. generation .. struct.pack('>I8I8', now, now + ARGV[4]) .. ARGV[5] .. ARGV[6]
  .. string.sub(entry, 58, 59) .. ARGV[7] .. string.sub(entry, value_at)
redis.call('SET', KEYS[2], confirmed, 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return {'STORED'}
