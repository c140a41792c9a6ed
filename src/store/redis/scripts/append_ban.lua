-- ARGV[4] position up to which the caller has read the log; [5] id of the ban; [6] milliseconds
-- after which no entry is left that is older than a ban; [7] hold-off in milliseconds; [8] maximum
-- number of tags, [9] of globs; [10] number of tags in this ban; then its tags and its globs

if is_late then return {'LATE', server_time} end

if not is_complete() then return {'DAMAGED', number(sequence)} end

-- Drops bans that no entry is older than. Ids are kept for an hour and for 10,000 bans at least,
-- but never more than a replica remembers: a ban visits all markers, so those of a lost log are met
-- by the next ban after a failover, and not 50,000 bans later.
local MINUTE, HOUR, IDS, MAX_IDS = 60000, 3600000, 10000, 50000
local function newest_at(time)
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[6], number(time), '-inf', 'LIMIT', 0, 1)
  return tonumber(found[1] or 0)
end
local last = newest_at(now - ARGV[6])
if last > dropped then
  dropped = last
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', number(last))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', number(last))
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', '(' .. number(now - ARGV[6]))
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf',
  '(' .. number(math.max(math.min(newest_at(now - HOUR), sequence - IDS), sequence + 2 - MAX_IDS)))
if had_hold_off == 1 then redis.call('ZREMRANGEBYSCORE', KEYS[4], 1, number(now)) end

local first_glob = 11 + ARGV[10]
local function count_new(key, first, last)
  local new = 0
  for index = first, last do
    if not redis.call('ZSCORE', key, ARGV[index]) then new = new + 1 end
  end
  return new
end
local new_tags = count_new(KEYS[2], 11, first_glob - 1)
local new_globs = count_new(KEYS[3], first_glob, #ARGV)
-- The ban of all keys that drop_bans.lua leaves takes no place.
local globs_limit = ARGV[9] + (redis.call('ZSCORE', KEYS[3], '*') and 1 or 0)
if redis.call('ZCARD', KEYS[2]) + new_tags > tonumber(ARGV[8])
  or redis.call('ZCARD', KEYS[3]) + new_globs > globs_limit then
  -- Some may have been dropped.
  write_head(number(math.max(2 * ARGV[6], 90 * 24 * HOUR)))
  return {'FULL', number(sequence)}
end

sequence, id = sequence + 1, ARGV[5]
local hold_off = tonumber(ARGV[7])
for index = 11, #ARGV do
  local is_tag = index < first_glob
  redis.call('ZADD', is_tag and KEYS[2] or KEYS[3], number(sequence), ARGV[index])
  if hold_off > 0 then
    local name = (is_tag and 't' or 'g') .. ARGV[index]
    local current = redis.call('ZSCORE', KEYS[4], name)
    local ends_at = math.max(now + hold_off, tonumber(current or 0))
    redis.call('ZADD', KEYS[4], number(ends_at), name)
  end
end
if hold_off > 0 and had_hold_off == 0 then
  had_hold_off = 1
  redis.call('ZADD', KEYS[4], 0, '')
end
redis.call('ZADD', KEYS[5], number(sequence), id)
if newest_at(now) == 0 or newest_at(now - MINUTE) == newest_at(now) then
  redis.call('ZADD', KEYS[6], number(now), number(sequence))
end
-- The log outlives the markers that refer to it, so that these are not taken for those of a lost
-- log.
write_head(number(math.max(2 * ARGV[6], 90 * 24 * HOUR)))
return newer_than(ARGV[4])
