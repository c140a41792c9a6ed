-- Uses every command that the other scripts use, on keys of its own, so that a permission that is
-- missing, a full memory and a server that takes no writes are met as the operations meet them.
--
-- KEYS[1] and KEYS[2] keys of the probe

redis.call('TIME')
redis.call('SET', KEYS[1], 'probe', 'PX', 10000)
redis.call('GET', KEYS[1])
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('GETRANGE', KEYS[2], 0, 0)
redis.call('SETRANGE', KEYS[2], 0, 'P')
redis.call('PEXPIRE', KEYS[2], 10000)
redis.call('PTTL', KEYS[2])
redis.call('DEL', KEYS[2])
redis.call('INCRBY', KEYS[1], 1)
redis.call('PEXPIRE', KEYS[1], 10000)
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'probe', 1)
redis.call('HSETNX', KEYS[1], 'probe', 1)
redis.call('HINCRBY', KEYS[1], 'probe', 1)
redis.call('PEXPIRE', KEYS[1], 10000)
redis.call('HLEN', KEYS[1])
redis.call('HEXISTS', KEYS[1], 'probe')
redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('ZADD', KEYS[1], 1, 'probe')
redis.call('PEXPIRE', KEYS[1], 10000)
redis.call('ZCARD', KEYS[1])
redis.call('ZSCORE', KEYS[1], 'probe')
redis.call('ZRANGEBYSCORE', KEYS[1], 1, 1)
redis.call('ZREVRANGEBYSCORE', KEYS[1], 1, 1)
redis.call('ZREMRANGEBYSCORE', KEYS[1], 1, 1)
return 'OK'
