-- Drops bans that no entry is older than, because all entries of the namespace were invalidated
-- since. The longest hold-off among them holds for the whole namespace, as one ban of all keys. The
-- log agrees with its head afterwards.
--
-- ARGV[4] sequence number up to which bans are dropped; [5] as ARGV[6] in append_ban.lua; [6]
-- hold-off of a ban that has no place in the log, in milliseconds; [7] id of the ban of all keys

if is_late then return {'LATE', server_time} end

local held = redis.call('ZREVRANGEBYSCORE', KEYS[4], '+inf', '(' .. number(now), 'WITHSCORES',
  'LIMIT', 0, 1)
local ends_at = math.max(now + ARGV[6], tonumber(held[2] or 0))
redis.call('DEL', KEYS[4])
if sequence == 0 then redis.call('DEL', KEYS[2], KEYS[3], KEYS[5], KEYS[6]) end
drop_until(tonumber(ARGV[4]))
if ends_at > now then
  sequence, id, had_hold_off = sequence + 1, ARGV[7], 1
  redis.call('ZADD', KEYS[3], number(sequence), '*')
  redis.call('ZADD', KEYS[4], number(ends_at), 'g*')
  redis.call('ZADD', KEYS[6], number(now), number(sequence))
end
if sequence > 0 then
  redis.call('ZADD', KEYS[5], number(sequence), id)
  if had_hold_off == 1 then redis.call('ZADD', KEYS[4], 0, '') end
  write_head(number(math.max(2 * ARGV[5], 90 * 24 * 3600000)))
else
  for key = 2, 6 do redis.call('DEL', KEYS[key]) end
end
return ends_at > now and newer_than(string.rep('\0', 24)) or 'DROPPED'
