-- Drops bans that no entry and no lease is older than, as a sweep has found. Nothing is dropped
-- from a log that is incomplete, or that is not the one that the sweep has read.
--
-- ARGV[4] newest ban at the beginning of the sweep; [5] number up to which bans are dropped

if is_late then return {'LATE', server_time} end

if not is_complete() then return {'DAMAGED', number(sequence)} end
if not is_known(ARGV[4]) then return 'UNKNOWN' end
local before = tags + globs
drop_until(tonumber(ARGV[5]))
local left = redis.call('PTTL', KEYS[1])
write_head(left > 0 and left or 90 * 24 * 3600000)
return {'DROPPED', before - tags - globs}
