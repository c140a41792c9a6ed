-- KEYS[4] the staged entry, with zeros in place of its head, if it is large
-- ARGV[4] lifetime of the key, [5] TTL of the value, both in milliseconds; [6] the entry from its
-- version on, if it is not staged; [7] condition: '', 'absent', 'present' or a version of 8 bytes;
-- [8] nothing, or 'keep' if the entry with that version must be fresh, and passes on the end of
-- its TTL

local marker = redis.call('GET', KEYS[1])
if ARGV[7] ~= '' then
  local entry, _, unchecked = valid_header(marker)
  if unchecked then
    drop_staged()
    return unchecked
  end
  local fresh = entry and fresh_until(entry) > now and string.byte(entry, 58) ~= 3
  local holds
  if ARGV[7] == 'absent' then holds = not fresh
  elseif ARGV[7] == 'present' then holds = fresh
  else
    holds = entry and string.sub(entry, 34, 41) == ARGV[7]
    if ARGV[8] then
      holds = holds and fresh
      local ttl = holds and fresh_until(entry) - now
      -- The windows follow the TTL.
      if ttl then ARGV[4], ARGV[5] = ARGV[4] - ARGV[5] + ttl, ttl end
    end
  end
  if not holds then
    drop_staged()
    return 'CONDITION_NOT_MET'
  end
end
marker = marker_for_write(marker, tonumber(ARGV[4]))
if not store(marker) then return 'STAGED_MISSING' end
void_lease('S')
return 'STORED'
