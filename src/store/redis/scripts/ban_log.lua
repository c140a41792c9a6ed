-- Shared by the scripts on the log of bans of a namespace. Follows clock.lua.
--
-- KEYS[1] head: sequence number of the newest ban (8) and its id (16), sequence number up to which
-- bans were dropped (8), number of tags (4), number of globs (4), whether there was a hold-off (1)
-- KEYS[2] banned tags, and banned keys after a byte 255   KEYS[3] banned globs
-- KEYS[5] ids of recent bans; all three by sequence number
-- KEYS[4] hold-offs of tags and globs, by their end; the empty name stands for all that were
-- KEYS[6] sequence number of the newest ban at some past times, by time
-- All are in one slot, which is not that of an entry.
--
-- Redis may evict any of these keys. Those that are left do not agree with each other then, and
-- drop_bans.lua mends that. Without its head, the log begins anew, and all positions of the former
-- one are unknown to it; their ids must not be among those of the new one.

local NO_ID = string.rep('\0', 16)

local function number(value) return string.format('%.0f', value) end

local sequence, dropped, tags, globs, had_hold_off = 0, 0, 0, 0, 0
local id = NO_ID
local head = redis.call('GET', KEYS[1])
if head then
  local newest
  newest, id, dropped, tags, globs, had_hold_off = struct.unpack('>I8c16I8I4I4B', head)
  sequence = newest
end

local function is_empty()
  return redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[5])
    + redis.call('ZCARD', KEYS[6]) == 0
end

local function is_complete()
  return redis.call('ZCARD', KEYS[2]) == tags and redis.call('ZCARD', KEYS[3]) == globs
    and (sequence > 0 and redis.call('ZSCORE', KEYS[5], id) or sequence == 0 and is_empty())
    and (had_hold_off == 0 or redis.call('ZSCORE', KEYS[4], ''))
end

-- Writes the head and extends the lives of all keys.
local function write_head(keep)
  tags, globs = redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3])
  redis.call('SET', KEYS[1],
    struct.pack('>I8c16I8I4I4B', sequence, id, dropped, tags, globs, had_hold_off), 'PX', keep)
  for key = 2, 6 do redis.call('PEXPIRE', KEYS[key], keep) end
end

-- Drops the bans up to the number `last`, except those whose hold-off has not ended.
local function drop_until(last)
  local held = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. number(now), '+inf')
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', number(last))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', number(last))
  for _, name in ipairs(held) do
    local key = string.sub(name, 1, 1) == 't' and KEYS[2] or KEYS[3]
    redis.call('ZADD', key, 'NX', number(last), string.sub(name, 2))
  end
  dropped = math.max(dropped, last)
end

-- Whether the position belongs to this log. Ids of old bans are not kept: they are trusted by their
-- number.
local function is_known(position)
  local known, known_id = struct.unpack('>I8c16', position)
  if known > sequence then return false end
  local ids = redis.call('ZRANGEBYSCORE', KEYS[5], number(known), number(known))
  return not ids[1] or ids[1] == known_id
end

-- The part of the log after the position; all of it if the log does not have the position.
local function newer_than(position)
  local known = struct.unpack('>I8', position)
  local is_all = known == 0 or not is_known(position)
  local from = is_all and '-inf' or '(' .. number(known)
  local function range(key) return redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES') end
  local hold_offs = had_hold_off == 1
    and redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. number(now), '+inf', 'WITHSCORES') or {}
  return {'LOG', is_all and 1 or 0, struct.pack('>I8c16', sequence, id), number(dropped),
    range(KEYS[2]), range(KEYS[3]), range(KEYS[5]), hold_offs}
end
