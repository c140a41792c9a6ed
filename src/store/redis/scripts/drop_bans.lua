-- Drops bans that no entry is older than, because all entries of the namespace were invalidated
-- since. The log agrees with its head afterwards.
--
-- ARGV[4] sequence number up to which bans are dropped; [5] as ARGV[6] in append_ban.lua

if is_late then return {'LATE', server_time} end

local last = tonumber(ARGV[4])
-- Bans whose hold-off has not ended stay.
local held = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. number(now), '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', number(last))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', number(last))
for _, name in ipairs(held) do
  local key = string.sub(name, 1, 1) == 't' and KEYS[2] or KEYS[3]
  redis.call('ZADD', key, 'NX', number(last), string.sub(name, 2))
end
dropped = math.max(dropped, last)
if sequence > 0 then
  redis.call('ZADD', KEYS[5], number(sequence), id)
  if had_hold_off == 1 then redis.call('ZADD', KEYS[4], 0, '') end
  write_head(number(math.max(2 * ARGV[5], 90 * 24 * 3600000)))
else
  for key = 2, 6 do redis.call('DEL', KEYS[key]) end
end
return 'DROPPED'
