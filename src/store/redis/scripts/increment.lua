-- KEYS[4] scratch key
-- ARGV[4] lifetime of a new key, [5] TTL of a new value, both in milliseconds; [6] version of 8
-- bytes; [7] encoded stale windows of a new entry; [8] encoded kind and flags; [9] delta;
-- [10] initial value of a missing counter, or '' if none is created

local LONGEST_INTEGER = #'-9223372036854775808'

local marker = redis.call('GET', KEYS[1])
local header, shift, unchecked = valid_header(marker)
if unchecked then return unchecked end
if header and (fresh_until(header) <= now or string.byte(header, 58) == 3) then header = nil end
local before = ARGV[10]
local entry, value_at
if header then
  -- A counter is a text of decimal digits.
  if string.sub(header, 58, 59) ~= ARGV[8] then return 'NOT_AN_INTEGER' end
  value_at = HEADER_BYTES + shift + 1 + struct.unpack('>I2', header, 60)
  -- No integer is longer than this, so a long value is refused without reading all of it.
  entry = redis.call('GETRANGE', KEYS[2], 0, value_at + LONGEST_INTEGER - 1)
  before = string.sub(entry, value_at)
  if #before > LONGEST_INTEGER then return 'NOT_AN_INTEGER' end
end

-- The extensions of a new value: the tags of the old one, and not its validators and checksums; and
-- a copy of kind, flags and value. Nil if the old value is not its copy.
local TAG, COPY = 1, 8
local function tags_of(extensions)
  local tags, at = '', 1
  while at + 2 <= #extensions do
    local length = struct.unpack('>I2', extensions, at + 1)
    local kind = string.byte(extensions, at)
    local content = string.sub(extensions, at + 3, at + 2 + length)
    if kind == TAG then
      tags = tags .. string.sub(extensions, at, at + 2) .. content
    elseif kind == COPY and content ~= ARGV[8] .. before then
      return nil
    end
    at = at + 3 + length
  end
  return tags
end
local function with_copy(tags, sum)
  local copy = ARGV[8] .. sum
  return struct.pack('>I2', #tags + 3 + #copy) .. tags .. struct.pack('>BI2', COPY, #copy) .. copy
end
local tags = entry and tags_of(string.sub(entry, HEADER_BYTES + shift + 1, value_at - 1))
if not tags then
  entry, before, tags = nil, ARGV[10], ''
end
if before == '' and not entry then return 'MISSING' end

-- Lua's numbers are floating point, so INCRBY does the 64-bit arithmetic.
redis.call('SET', KEYS[4], before)
local outcome = redis.pcall('INCRBY', KEYS[4], ARGV[9])
local sum = redis.call('GET', KEYS[4])
redis.call('DEL', KEYS[4])
if type(outcome) == 'table' and outcome.err then
  if string.find(outcome.err, 'overflow') then return 'OVERFLOW' end
  if string.find(outcome.err, 'not an integer') then return 'NOT_AN_INTEGER' end
  return outcome
end

local fresh
if entry then
  fresh = fresh_until(header)
  local updated = prefix_of(marker) .. struct.pack('>I8', now) .. string.sub(header, 26, 33)
    .. ARGV[6] .. string.sub(header, 42, 57) .. ARGV[8] .. with_copy(tags, sum) .. sum
  redis.call('SET', KEYS[2], updated, 'KEEPTTL')
else
  fresh = now + ARGV[5]
  marker = marker_for_write(marker, tonumber(ARGV[4]))
  local created = prefix_of(marker) .. struct.pack('>I8I8', now, fresh)
    .. ARGV[6] .. ARGV[7] .. ARGV[8] .. with_copy(tags, sum) .. sum
  redis.call('SET', KEYS[2], created, 'PX', ARGV[4])
end
void_lease('S')
return {'SUM', sum, fresh - now}
