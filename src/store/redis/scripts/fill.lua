-- ARGV[3] lifetime of the key, [4] time that the value is fresh, both in milliseconds; [5] rest of the entry from its version on;
-- [6] token

local lease = redis.call('GET', KEYS[3])
if not lease or string.sub(lease, 2, 17) ~= ARGV[6] then return {'LEASE_LOST'} end
local state = string.sub(lease, 1, 1)
if state == 'D' then return {'INVALIDATED'} end
if state == 'S' then return {'SUPERSEDED'} end
if state ~= 'L' then return {'LEASE_LOST'} end
local generation = redis.call('GET', KEYS[1])
if generation ~= string.sub(lease, 18, 33) then
  redis.call('DEL', KEYS[3])
  return {'INVALIDATED'}
end
keep_marker(tonumber(ARGV[3]))
redis.call('SET', KEYS[2], FORMAT .. generation .. struct.pack('>I8I8', now, now + ARGV[4]) .. ARGV[5], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return {'STORED'}
