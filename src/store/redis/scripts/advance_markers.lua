-- Replaces markers that are still as they were read.
--
-- KEYS the markers, in one slot of a cluster or on a server without slots
-- ARGV[2] lifetime of a marker that was missing, in milliseconds; [4] and on: the expected marker,
-- '' if it is missing, and the new one for each key

if is_late then return {'LATE', server_time} end
local changed = {'ADVANCED'}
for index, key in ipairs(KEYS) do
  local current, expected = redis.call('GET', key), ARGV[2 + 2 * index]
  if current == expected then
    redis.call('SET', key, ARGV[3 + 2 * index], 'KEEPTTL')
  elseif not current and expected == '' then
    redis.call('SET', key, ARGV[3 + 2 * index], 'PX', ARGV[2])
  else
    changed[#changed + 1] = index
  end
end
return changed
