-- ARGV[3] lifetime of the key, [4] time that the value is fresh, both in milliseconds; [5] rest of the entry from its version on;
-- [6] token

local generation, why = held_lease(ARGV[6])
if not generation then return {why} end
keep_marker(tonumber(ARGV[3]))
redis.call('SET', KEYS[2], FORMAT .. generation .. struct.pack('>I8I8', now, now + ARGV[4]) .. ARGV[5], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return {'STORED'}
