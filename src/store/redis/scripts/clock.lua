-- Shared by all scripts that change something.
--
-- ARGV[1] time after which the script must not be applied, in milliseconds by the store's clock
-- ARGV[3] what the store's clock is ahead of this server's clock, in milliseconds; see clock.rs

local time = redis.call('TIME')
local server_time = time[1] * 1000 + math.floor(time[2] / 1000)
local now = server_time + ARGV[3]
-- A command can wait in a socket buffer while the server hangs. By then its sender has reported a
-- failure, and must not overwrite writes that were acknowledged in the meantime.
local is_late = now > tonumber(ARGV[1])
