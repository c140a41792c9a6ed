local entry = valid_entry(redis.call('GET', KEYS[1]))
redis.call('DEL', KEYS[2])
void_lease('D')
return {entry and 'EXISTED' or 'ABSENT'}
