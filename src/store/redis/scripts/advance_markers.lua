-- Replaces markers that are still as they were read.
--
-- KEYS the markers, in one slot or on a server without slots
-- ARGV[4] and on: the expected and the new marker for each key

if is_late then return {'LATE', server_time} end
local changed = {'ADVANCED'}
for index, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[2 + 2 * index] then
    redis.call('SET', key, ARGV[3 + 2 * index], 'KEEPTTL')
  else
    changed[#changed + 1] = index
  end
end
return changed
