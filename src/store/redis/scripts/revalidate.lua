-- ARGV[3] lifetime of the key, [4] TTL of the value, both in milliseconds; [5] version of 8 bytes;
-- [6] encoded stale windows; [7] encoded extensions with their length; [8] token

local generation, reason = held_lease(ARGV[8])
if not generation then return reason end
local header = valid_header(generation)
if not header or string.sub(header, 34, 41) ~= ARGV[5] then return 'GONE' end
keep_marker(tonumber(ARGV[3]))
local revalidated = struct.pack('>I8I8', now, now + ARGV[4]) .. ARGV[5] .. ARGV[6]
  .. string.sub(header, 58, 59) .. ARGV[7]
local value_at = HEADER_BYTES + struct.unpack('>I2', header, 60)
if 17 + #revalidated == value_at then
  redis.call('SETRANGE', KEYS[2], 17, revalidated)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
else
  local value = redis.call('GETRANGE', KEYS[2], value_at, -1)
  redis.call('SET', KEYS[2], FORMAT .. generation .. revalidated .. value, 'PX', ARGV[3])
end
redis.call('DEL', KEYS[3])
return 'STORED'
