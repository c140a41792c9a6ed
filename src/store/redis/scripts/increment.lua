-- KEYS[4] scratch key
-- ARGV[3] lifetime of a new key, [4] time that a new value is fresh, both in milliseconds; [5] version of 8 bytes;
-- [6] stale windows of a new entry as stored; [7] kind and flags as stored; [8] delta; [9] what a missing counter counts from

local LONGEST_INTEGER = #'-9223372036854775808'

local generation = redis.call('GET', KEYS[1])
local header = valid_header(generation)
if header and (fresh_until(header) <= now or string.byte(header, 58) == 3) then header = nil end
local before = ARGV[9]
local entry, value_at
if header then
  -- A counter is text, as are its decimal digits.
  if string.sub(header, 58, 59) ~= ARGV[7] then return 'NOT_AN_INTEGER' end
  value_at = HEADER_BYTES + 1 + struct.unpack('>I2', header, 60)
  -- No integer is longer than this, so a long value is not read to its end to find that it is none.
  entry = redis.call('GETRANGE', KEYS[2], 0, value_at + LONGEST_INTEGER - 1)
  before = string.sub(entry, value_at)
  if #before > LONGEST_INTEGER then return 'NOT_AN_INTEGER' end
end

-- Numbers of this language are floating point: the server's own 64-bit arithmetic is borrowed instead.
redis.call('SET', KEYS[4], before)
local outcome = redis.pcall('INCRBY', KEYS[4], ARGV[8])
local sum = redis.call('GET', KEYS[4])
redis.call('DEL', KEYS[4])
if type(outcome) == 'table' and outcome.err then
  if string.find(outcome.err, 'overflow') then return 'OVERFLOW' end
  if string.find(outcome.err, 'not an integer') then return 'NOT_AN_INTEGER' end
  return outcome
end

-- Tags stay; by what an origin recognised the value does not, as it is another value now.
local function tags_of(extensions)
  local tags, at = '', 1
  while at + 2 <= #extensions do
    local length = struct.unpack('>I2', extensions, at + 1)
    if string.byte(extensions, at) == 1 then tags = tags .. string.sub(extensions, at, at + 2 + length) end
    at = at + 3 + length
  end
  return struct.pack('>I2', #tags) .. tags
end

local fresh
if entry then
  fresh = fresh_until(entry)
  local counted = string.sub(entry, 1, 17) .. struct.pack('>I8', now) .. string.sub(entry, 26, 33) .. ARGV[5]
    .. string.sub(entry, 42, 57) .. ARGV[7] .. tags_of(string.sub(entry, 62, value_at - 1)) .. sum
  redis.call('SET', KEYS[2], counted, 'KEEPTTL')
else
  fresh = now + ARGV[4]
  generation = generation_for_write(generation, tonumber(ARGV[3]))
  local counted = FORMAT .. generation .. struct.pack('>I8I8', now, fresh) .. ARGV[5] .. ARGV[6] .. ARGV[7] .. '\0\0' .. sum
  redis.call('SET', KEYS[2], counted, 'PX', ARGV[3])
end
void_lease('S')
return {'SUM', sum, fresh - now}
