-- ARGV[4] lifetime of the key, [5] TTL of the value, both in milliseconds; [6] encoded stale
-- windows; [7] version of 8 bytes of the entry that must then be fresh for longer, or ''

local header, shift, unchecked = valid_header(redis.call('GET', KEYS[1]))
if unchecked then return unchecked end
if not header or fresh_until(header) <= now or string.byte(header, 58) == 3 then return 'ABSENT' end
if ARGV[7] ~= '' and (string.sub(header, 34, 41) ~= ARGV[7]
  or now + ARGV[5] <= fresh_until(header)) then return 'NOT_PROLONGED' end
keep_marker(tonumber(ARGV[4]))
local updated = struct.pack('>I8', now + ARGV[5]) .. string.sub(header, 34, 41) .. ARGV[6]
redis.call('SETRANGE', KEYS[2], 25 + shift, updated)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 'TOUCHED'
