-- Announces to the watches of a namespace that it was invalidated. Nothing is left.
--
-- KEYS[1] the key that is announced

-- A write that needs no memory comes first: then the server does not stop the script for lack of
-- it.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1000)
redis.call('DEL', KEYS[1])
return 'ANNOUNCED'
