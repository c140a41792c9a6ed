-- Drops bans that no entry is older than, because all entries of the namespace were invalidated
-- since. The log agrees with its head afterwards.
--
-- ARGV[4] sequence number up to which bans are dropped; [5] as ARGV[6] in append_ban.lua

if is_late then return {'LATE', server_time} end

drop_until(tonumber(ARGV[4]))
if sequence > 0 then
  redis.call('ZADD', KEYS[5], number(sequence), id)
  if had_hold_off == 1 then redis.call('ZADD', KEYS[4], 0, '') end
  write_head(number(math.max(2 * ARGV[5], 90 * 24 * 3600000)))
else
  for key = 2, 6 do redis.call('DEL', KEYS[key]) end
end
return 'DROPPED'
