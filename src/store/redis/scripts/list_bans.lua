-- Lists the newest bans, the checkpoints and the hold-offs of these bans. Changes nothing.
--
-- ARGV[4] most tags and most globs; [5] most checkpoints

local function newest(key, most)
  return redis.call('ZREVRANGEBYSCORE', key, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, most)
end

local hold_offs = {}
local function add_hold_offs(kind, bans)
  for index = 1, had_hold_off == 1 and #bans or 0, 2 do
    local name = kind .. bans[index]
    local ends_at = redis.call('ZSCORE', KEYS[4], name)
    if ends_at and tonumber(ends_at) > now then
      table.insert(hold_offs, name)
      table.insert(hold_offs, ends_at)
    end
  end
end

local newest_tags, newest_globs = newest(KEYS[2], ARGV[4]), newest(KEYS[3], ARGV[4])
add_hold_offs('t', newest_tags)
add_hold_offs('g', newest_globs)
return {'BANS', redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]), newest_tags,
  newest_globs, newest(KEYS[6], ARGV[5]), hold_offs}
