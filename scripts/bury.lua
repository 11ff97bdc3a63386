#!lua flags=allow-oom
-- bury.lua: forget a condemned stamp, after all 256 indexes of it are empty.
--
-- KEYS     <p>:{nodes}:reaping   hash: stamp → `<lease end ms> <condemned ms>`
--          <p>:{nodes}:due       zset: stamp → when somebody must look at it (ms)
-- ARGV     stamp
-- Returns  1 | 0 it was not being reaped (buried before, or alive); or the error "BROKEN reaping|due"
-- Keeps    invariant 10.  Cost: O(log nodes), 1 to 2 commands.
local reaping, due, stamp = KEYS[1], KEYS[2], ARGV[1]

local condemned = try('HEXISTS', reaping, stamp)
if type(condemned) ~= 'number' then return redis.error_reply('BROKEN reaping') end
if condemned == 0 then return 0 end
if type(try('ZREM', due, stamp)) ~= 'number' then return redis.error_reply('BROKEN due') end
call('HDEL', reaping, stamp)
return 1
