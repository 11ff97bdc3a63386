#!lua flags=allow-oom
-- beat.lua: renew a node's lease. A lease that has lapsed revives, as long as nobody condemned the stamp.
--
-- KEYS     <p>:{nodes}:lease:<stamp>   string with a TTL: the node is alive
--          <p>:{nodes}:registry        hash: stamp → what the node says of itself (JSON)
--          <p>:{nodes}:due             zset: stamp → end of its lease (ms)
-- ARGV     stamp, ttlMs, value (JSON)
-- Returns  now (ms), validUntil (ms: the lease's end); or the error "FENCED stamp" (condemned or retired: register
--          again) or "BROKEN registry|due"
-- Keeps    invariant 5.  Cost: O(1), 5 commands.
local lease, registry, due = KEYS[1], KEYS[2], KEYS[3]
local stamp, ttl, value = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = try('HEXISTS', registry, stamp)
if type(known) ~= 'number' then return redis.error_reply('BROKEN registry') end
if known == 0 then return redis.error_reply('FENCED stamp') end
if type(try('ZADD', due, format('%.0f', ms + ttl), stamp)) ~= 'number' then return redis.error_reply('BROKEN due') end
call('HSET', registry, stamp, value)
call('SET', lease, format('%.0f', ms), 'PX', format('%.0f', ttl))
return { ms, ms + ttl }
