-- Removes a banned entry, unless it was written again since it was read. Follows common.lua.
--
-- ARGV[4] first bytes of the entry that was read, which identify the write

if redis.call('GETRANGE', KEYS[2], 0, #ARGV[4] - 1) ~= ARGV[4] then return 'CHANGED' end
redis.call('DEL', KEYS[2])
return 'DROPPED'
