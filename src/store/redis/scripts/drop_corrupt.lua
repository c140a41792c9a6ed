-- Removes a corrupt entry, unless it was written again since it was read.
--
-- KEYS[1] entry
-- ARGV[1] first bytes of the entry that was read, which identify the write

if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
