#!lua flags=allow-oom
-- register.lua: give a process a stamp that nobody had before. Its first beat, at once, sets the lease, whose key is
-- known only now.
--
-- KEYS     <p>:{nodes}:epochs     hash: node id → last epoch
--          <p>:{nodes}:registry   hash: stamp → what the node says of itself (JSON)
--          <p>:{nodes}:due        zset: stamp → end of its lease (ms)
-- ARGV     node id, ttlMs, value (JSON)
-- Returns  stamp, now (ms); or the error "BROKEN epochs|registry|due"
-- Keeps    invariant 5: an epoch is never used twice, not even where a later step failed.  Cost: O(1), 4 commands.
local epochs, registry, due = KEYS[1], KEYS[2], KEYS[3]
local node, ttl, value = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local epoch = try('HINCRBY', epochs, node, 1)
if type(epoch) ~= 'number' then return redis.error_reply('BROKEN epochs') end
local stamp = node .. '.' .. format('%.0f', epoch)
if type(try('ZADD', due, format('%.0f', ms + ttl), stamp)) ~= 'number' then return redis.error_reply('BROKEN due') end
if type(try('HSET', registry, stamp, value)) ~= 'number' then return redis.error_reply('BROKEN registry') end
return { stamp, ms }
