-- Shared by all scripts that touch an entry. Follows clock.lua.
--
-- KEYS[1] marker   KEYS[2] entry   KEYS[3] lease   KEYS[4] staged entry or scratch key, if the
-- script needs one; all in one slot
-- ARGV[2] marker to use if there is none
--
-- Marker: id of the generation (16), position in the log of bans (24); see ban_log.rs. A marker
-- without a position has the position zero: there was no ban yet.
-- Entry: format, marker as it was at the time of the write, created_at, fresh_until, version, stale
-- windows, kind, flags, extensions, value; see codec.rs.
-- Lease: L (held), D (voided by a delete) or S (voided by a set), token, generation, stamp,
-- position
-- Back-off: B, stamp, generation, cause
-- Hold-off, in which no fill is accepted: H, stamp
-- A stamp is the end by the store's clock and the duration, both in milliseconds (8). Records of
-- earlier releases have a token or nothing in its place, and end when the key expires.

if is_late then
  if KEYS[4] then redis.pcall('UNLINK', KEYS[4]) end
  return {'LATE', server_time}
end

local FORMAT = '\2'
local POSITIONED_FORMAT = '\3'
local UNCHECKED_FORMAT = '\1'

local NO_POSITION = string.rep('\0', 24)
local function generation_of(marker) return string.sub(marker, 1, 16) end
local function position_of(marker)
  return #marker > 16 and string.sub(marker, 17) or NO_POSITION
end

local function fresh_until(entry) return (struct.unpack('>I8', entry, 26)) end

-- Long strings are expensive: the server hashes every byte of every string that a script creates.
-- So scripts read a value only if they need it, and otherwise only the header before it.
local HEADER_BYTES = 61

-- An entry whose time of writing is later than this was written before the clock was set back, and
-- the time since then is unknown.
local latest_created_at = now + 5000

-- Whether the caller has read newer bans than the marker's: a failover has set it back, or it is
-- about to be moved.
local function is_behind(marker)
  return #ARGV[2] > 16 and (#marker <= 16
    or struct.unpack('>I8', marker, 17) < struct.unpack('>I8', ARGV[2], 17))
end

-- The header of the entry without its position, if the entry belongs to the generation of the
-- marker; and the length of the position. The third result is the reply of the script if the entry
-- may be older than a ban: only the caller can compare it with the bans.
local function valid_header(marker)
  local stored = marker and redis.pcall('GETRANGE', KEYS[2], 0, HEADER_BYTES + #NO_POSITION - 1)
  -- A key of another type is foreign, and counts as missing.
  if type(stored) ~= 'string' then return nil end
  local format = string.sub(stored, 1, 1)
  local shift = 0
  if format == POSITIONED_FORMAT then shift = #NO_POSITION
  elseif format ~= FORMAT and format ~= UNCHECKED_FORMAT then return nil end
  if string.sub(stored, 2, 17) ~= generation_of(marker) or #stored < HEADER_BYTES + shift
    or struct.unpack('>I8', stored, 18 + shift) > latest_created_at then return nil end
  local header = string.sub(stored, 1, 17) .. string.sub(stored, 18 + shift, HEADER_BYTES + shift)
  if position_of(string.sub(stored, 2, 17 + shift)) == position_of(marker)
    and not is_behind(marker) then
    return header, shift
  end
  local value_at = HEADER_BYTES + shift + struct.unpack('>I2', header, 60)
  return header, shift, {'CHECK', marker, redis.call('GETRANGE', KEYS[2], 0, value_at - 1)}
end

-- Frees a staged entry that is not stored.
local function drop_staged()
  if KEYS[4] then redis.call('UNLINK', KEYS[4]) end
end

-- The format and the marker, as an entry begins that is written now.
local function prefix_of(marker)
  return (#marker > 16 and POSITIONED_FORMAT or FORMAT) .. marker
end

-- Stores an entry: KEYS[4], ARGV[4] to [6] as in set.lua. False if the staged entry is gone.
local function store(marker)
  local times = struct.pack('>I8I8', now, now + ARGV[5])
  if not KEYS[4] then
    redis.call('SET', KEYS[2], prefix_of(marker) .. times .. ARGV[6], 'PX', ARGV[4])
    return true
  end
  -- The staged entry has its memory already. The server does not stop a script for lack of memory
  -- if its first write needs none, as this one.
  local failure = redis.pcall('RENAME', KEYS[4], KEYS[2]).err
  if failure then
    if string.find(failure, 'no such key', 1, true) then return false end
    -- A missing permission, for example, is no lack of memory.
    error({err = failure})
  end
  -- A staged entry always has room for a position.
  local head = POSITIONED_FORMAT .. generation_of(marker) .. position_of(marker) .. times
  redis.call('SETRANGE', KEYS[2], 0, head)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  return true
end

-- The marker outlives every entry under it. It is extended by more than needed, so that extensions
-- are rare.
local function keep_marker(lifetime)
  local left = redis.call('PTTL', KEYS[1])
  if left < lifetime + 60000 then redis.call('PEXPIRE', KEYS[1], lifetime * 2 + 120000) end
end

-- The current marker. Begins a generation if there is none.
local function marker_for_write(current, lifetime)
  if current then
    keep_marker(lifetime)
    return current
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', lifetime * 2 + 120000)
  return ARGV[2]
end

-- The expiry of a key is a time by the server's clock: if that is set back, the key lives longer.
-- So the end of a lease, a back-off and a hold-off is a stamp by the store's clock as well.
local function stamp(duration) return struct.pack('>I8I8', now + duration, duration) end

-- The time until the end of a record with a stamp at the position `at`; not positive if it has
-- ended.
local function time_left(record, at)
  local ends_at, duration
  if #record >= at + 15 then ends_at, duration = struct.unpack('>I8I8', record, at) end
  if not ends_at or ends_at >= 2 ^ 48 then return redis.call('PTTL', KEYS[3]) end
  local left = ends_at - now
  if left <= duration + 1000 then return left end
  -- The clock was set back while no replica measured it, and the age of the record is unknown: it
  -- begins again. A hold-off must not end early.
  redis.call('PEXPIRE', KEYS[3], duration)
  redis.call('SETRANGE', KEYS[3], at - 1, stamp(duration))
  return duration
end

-- Ends a held lease. No other is granted during the back-off.
local function end_lease(lease, backoff, cause)
  if backoff == '0' then
    redis.call('DEL', KEYS[3])
  else
    local record = 'B' .. stamp(backoff) .. string.sub(lease, 18, 33) .. cause
    redis.call('SET', KEYS[3], record, 'PX', backoff)
  end
end

-- The marker, and the position at which the lease was granted that the token holds; or nil and the
-- reason.
local function held_lease(token)
  local lease = redis.call('GET', KEYS[3])
  if not lease then return nil, 'LEASE_LOST' end
  local state = string.sub(lease, 1, 1)
  if state == 'H' then return nil, 'INVALIDATED' end
  if string.sub(lease, 2, 17) ~= token then return nil, 'LEASE_LOST' end
  if state == 'D' then return nil, 'INVALIDATED' end
  if state == 'S' then return nil, 'SUPERSEDED' end
  if state ~= 'L' or time_left(lease, 34) <= 0 then return nil, 'LEASE_LOST' end
  local marker = redis.call('GET', KEYS[1])
  if not marker or generation_of(marker) ~= string.sub(lease, 18, 33) then
    redis.call('DEL', KEYS[3])
    return nil, 'INVALIDATED'
  end
  return marker, #lease > 49 and string.sub(lease, 50, 73) or NO_POSITION
end

-- Voids a held lease. The reason is stored until the lease would have expired, for its holder.
local function void_lease(state)
  local lease = redis.call('GET', KEYS[3])
  if lease and string.sub(lease, 1, 1) == 'L' then
    local voided = redis.pcall('SET', KEYS[3], state .. string.sub(lease, 2), 'KEEPTTL')
    -- Without memory for the reason, the lease must still end.
    if voided.err then redis.call('DEL', KEYS[3]) end
  end
end
