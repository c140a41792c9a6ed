-- ARGV[4] token, [5] lifetime of the lease in milliseconds, [6] time beyond which an entry must be
-- fresh to be returned instead of a lease

local generation = redis.call('GET', KEYS[1])
local header = valid_header(generation)
-- The value is read only for the replies that contain it: many callers ask while one computes.
local function entry() return header and redis.call('GET', KEYS[2]) or '' end

if header and fresh_until(header) > math.max(now, tonumber(ARGV[6])) then
  return {'FOUND', entry()}
end
local lease = redis.call('GET', KEYS[3])
local state = lease and string.sub(lease, 1, 1)
local is_current = lease and generation and string.sub(lease, 18, 33) == generation
if state == 'H' then
  local left = time_left(lease, 2)
  if left > 0 then return {'HELD_OFF', left} end
elseif state == 'L' and is_current then
  local left = time_left(lease, 34)
  if left > 0 then return {'HELD', left} end
elseif state == 'B' and is_current then
  local left = time_left(lease, 2)
  if left > 0 then return {'BACKED_OFF', entry(), left, string.sub(lease, 34)} end
end
generation = generation_for_write(generation, tonumber(ARGV[5]))
redis.call('SET', KEYS[3], 'L' .. ARGV[4] .. generation .. stamp(ARGV[5]), 'PX', ARGV[5])
return {'GRANTED', entry()}
