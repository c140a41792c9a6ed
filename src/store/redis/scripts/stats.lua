-- Adds the counts of one replica.
--
-- KEYS[1] totals   KEYS[2] to [4] buckets of the minute, of the ten minutes and of the hour
-- KEYS[5] last sequence number of the replica
-- ARGV[1] sequence number, [2] to [4] retention of the buckets in milliseconds, [5] field by which
-- the replica shows that it runs, [6] and [7] field and time by which the totals show when counting
-- began, then pairs of field and number

-- The reply to an earlier attempt may have been lost. A delta that arrives twice is added once.
local last = redis.call('GET', KEYS[5])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end
-- Totals without the time are from a release that did not record it: it is not known.
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], ARGV[6], ARGV[7]) end
-- Callers choose the namespaces. Those beyond the limit are counted together.
local MAX_FIELDS = 20000
local count = (#ARGV - 7) / 2
for key = 1, 4 do
  local free = MAX_FIELDS - redis.call('HLEN', KEYS[key])
  -- The question is half of the work of a flush, and not needed while there is room for all.
  local may_be_full = free < count
  for index = 8, #ARGV, 2 do
    local field = ARGV[index]
    if may_be_full and redis.call('HEXISTS', KEYS[key], field) == 0 then
      if free > 0 then free = free - 1 else field = '_other' .. string.match(field, '|.*') end
    end
    redis.call('HINCRBY', KEYS[key], field, ARGV[index + 1])
  end
end
redis.call('HSET', KEYS[2], ARGV[5], 1)
-- Nothing is kept of a fleet that is gone: 90 days without traffic.
redis.call('PEXPIRE', KEYS[1], 90 * 86400000)
for bucket = 2, 4 do redis.call('PEXPIRE', KEYS[bucket], ARGV[bucket]) end
-- Each start of a replica leaves one such key, for as long as a delta may be sent again.
redis.call('SET', KEYS[5], ARGV[1], 'PX', 86400000)
return 1
