-- ARGV[4] token, [5] lifetime of the lease in milliseconds, [6] time beyond which an entry must be
-- fresh to be returned instead of a lease; [7] milliseconds until the end of the hold-offs of the
-- patterns that match the key; [8] token of a lease that a pattern bans, or ''

local marker = redis.call('GET', KEYS[1])
local header, _, unchecked = valid_header(marker)
if unchecked then return unchecked end
-- The value is read only for the replies that contain it: many callers ask while one computes.
local function entry() return header and redis.call('GET', KEYS[2]) or '' end

if header and fresh_until(header) > math.max(now, tonumber(ARGV[6])) then
  return {'FOUND', entry()}
end
-- A lease must not be older than the bans that the caller has read, and the caller must have read
-- those that the lease is not older than.
if marker and position_of(marker) ~= position_of(ARGV[2]) then return {'POSITION', marker} end
local lease = redis.call('GET', KEYS[3])
local state = lease and string.sub(lease, 1, 1)
local is_current = lease and marker and string.sub(lease, 18, 33) == generation_of(marker)
local held_off = math.max(tonumber(ARGV[7]), state == 'H' and time_left(lease, 2) or 0)
if held_off > 0 then return {'HELD_OFF', held_off} end
if state == 'L' and is_current and string.sub(lease, 2, 17) ~= ARGV[8] then
  local left = time_left(lease, 34)
  if left > 0 then
    return {'HELD', left, string.sub(lease, 2, 17), string.sub(lease, 50, 73)}
  end
elseif state == 'B' and is_current then
  local left = time_left(lease, 2)
  if left > 0 then return {'BACKED_OFF', entry(), left, string.sub(lease, 34)} end
end
marker = marker_for_write(marker, tonumber(ARGV[5]))
local granted = 'L' .. ARGV[4] .. generation_of(marker) .. stamp(ARGV[5]) .. string.sub(marker, 17)
redis.call('SET', KEYS[3], granted, 'PX', ARGV[5])
return {'GRANTED', entry()}
