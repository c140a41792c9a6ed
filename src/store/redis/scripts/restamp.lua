-- Writes the current position into an entry that no ban concerns, so that it need not be checked
-- again. Follows common.lua.
--
-- ARGV[4] marker, [5] first bytes of the entry; both as they were read

local head = ARGV[5]
if redis.call('GET', KEYS[1]) ~= ARGV[4]
  or redis.call('GETRANGE', KEYS[2], 0, #head - 1) ~= head then return 'CHANGED' end
local position = position_of(ARGV[4])
if string.sub(head, 1, 1) == POSITIONED_FORMAT then
  redis.call('SETRANGE', KEYS[2], 17, position)
else
  local rest = redis.call('GETRANGE', KEYS[2], 17, -1)
  redis.call('SET', KEYS[2], POSITIONED_FORMAT .. string.sub(head, 2, 17) .. position .. rest,
    'KEEPTTL')
end
return 'RESTAMPED'
