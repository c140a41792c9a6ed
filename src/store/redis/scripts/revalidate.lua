-- ARGV[4] lifetime of the key, [5] TTL of the value, both in milliseconds; [6] version of 8 bytes;
-- [7] encoded stale windows; [8] encoded extensions without those of the value; [9] token;
-- [10] as [8] in fill.lua

local marker, granted_at = held_lease(ARGV[9])
if not marker then return granted_at end
if granted_at .. position_of(marker) ~= ARGV[10] then return {'CHECK_LEASE', marker, granted_at} end
local header, shift, unchecked = valid_header(marker)
if unchecked then return unchecked end
if not header or string.sub(header, 34, 41) ~= ARGV[6] then return 'GONE' end
keep_marker(tonumber(ARGV[4]))
local value_at = HEADER_BYTES + shift + struct.unpack('>I2', header, 60)
-- The checksum of the value is the last extension.
local checksum = redis.call('GETRANGE', KEYS[2], value_at - 11, value_at - 1)
if value_at < HEADER_BYTES + shift + 11 or string.sub(checksum, 1, 3) ~= '\7\0\8' then
  checksum = ''
end
local revalidated = struct.pack('>I8I8', now, now + ARGV[5]) .. ARGV[6] .. ARGV[7]
  .. string.sub(header, 58, 59) .. struct.pack('>I2', #ARGV[8] + #checksum) .. ARGV[8] .. checksum
if 17 + shift + #revalidated == value_at then
  redis.call('SETRANGE', KEYS[2], 17 + shift, revalidated)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
else
  local value = redis.call('GETRANGE', KEYS[2], value_at, -1)
  local head = redis.call('GETRANGE', KEYS[2], 0, 16 + shift)
  redis.call('SET', KEYS[2], head .. revalidated .. value, 'PX', ARGV[4])
end
redis.call('DEL', KEYS[3])
return 'STORED'
