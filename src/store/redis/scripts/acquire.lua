-- ARGV[3] token, [4] lifetime of the lease in milliseconds

local generation = redis.call('GET', KEYS[1])
local entry = valid_entry(generation)
if entry and fresh_until(entry) > now then return {'FOUND', entry} end
entry = entry or ''
local lease = generation and redis.call('GET', KEYS[3])
if lease and string.sub(lease, 18, 33) == generation then
  local state = string.sub(lease, 1, 1)
  if state == 'L' then return {'HELD', entry, redis.call('PTTL', KEYS[3])} end
  if state == 'B' then return {'BACKED_OFF', entry, redis.call('PTTL', KEYS[3])} end
end
generation = generation_for_write(generation, tonumber(ARGV[4]))
redis.call('SET', KEYS[3], 'L' .. ARGV[3] .. generation, 'PX', ARGV[4])
return {'GRANTED', entry}
