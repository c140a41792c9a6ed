-- ARGV[3] token, [4] lifetime of the lease in milliseconds, [5] time beyond which an entry must be
-- fresh to be returned instead of a lease

local generation = redis.call('GET', KEYS[1])
local header = valid_header(generation)
-- The value is read only for the replies that contain it: many callers ask while one computes.
local function entry() return header and redis.call('GET', KEYS[2]) or '' end

if header and fresh_until(header) > math.max(now, tonumber(ARGV[5])) then
  return {'FOUND', entry()}
end
local lease = redis.call('GET', KEYS[3])
local state = lease and string.sub(lease, 1, 1)
if state == 'H' then return {'HELD_OFF', redis.call('PTTL', KEYS[3])} end
if lease and generation and string.sub(lease, 18, 33) == generation then
  if state == 'L' then return {'HELD', redis.call('PTTL', KEYS[3])} end
  if state == 'B' then
    return {'BACKED_OFF', entry(), redis.call('PTTL', KEYS[3]), string.sub(lease, 34)}
  end
end
generation = generation_for_write(generation, tonumber(ARGV[4]))
redis.call('SET', KEYS[3], 'L' .. ARGV[3] .. generation, 'PX', ARGV[4])
return {'GRANTED', entry()}
