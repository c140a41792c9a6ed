-- KEYS[4] the staged entry, with zeros in place of its head, if it is large
-- ARGV[3] lifetime of the key, [4] TTL of the value, both in milliseconds; [5] the entry from its
-- version on, if it is not staged; [6] condition: '', 'absent', 'present' or a version of 8 bytes

local generation = redis.call('GET', KEYS[1])
if ARGV[6] ~= '' then
  local entry = valid_header(generation)
  local fresh = entry and fresh_until(entry) > now and string.byte(entry, 58) ~= 3
  local holds
  if ARGV[6] == 'absent' then holds = not fresh
  elseif ARGV[6] == 'present' then holds = fresh
  else holds = entry and string.sub(entry, 34, 41) == ARGV[6] end
  if not holds then
    drop_staged()
    return 'CONDITION_NOT_MET'
  end
end
generation = generation_for_write(generation, tonumber(ARGV[3]))
if not store(generation) then return 'STAGED_MISSING' end
void_lease('S')
return 'STORED'
