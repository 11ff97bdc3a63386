#!lua flags=allow-oom
-- condemn.lua: take a node's right to write away for good, once its lease is over. Whoever calls goes on with orphan in
-- every shard, and bury; if it dies, `due` brings the next one.
--
-- KEYS     <p>:{nodes}:lease:<stamp>   string with a TTL: the node is alive
--          <p>:{nodes}:registry        hash: stamp → what the node says of itself (JSON)
--          <p>:{nodes}:due             zset: stamp → when somebody must look at it (ms)
--          <p>:{nodes}:reaping         hash: stamp → `<lease end ms> <condemned ms>`
-- ARGV     stamp, skewMs (by how much a master's clock may be behind this one's), claimMs
-- Returns  the lease's end (ms), as it was when the stamp was condemned | 0 it is alive, or nobody has this stamp; or the
--          error "BROKEN registry|due|reaping"
-- Keeps    invariants 3, 5, 10: at the lease's end itself its last write may still run.  Cost: O(log nodes), 2 to 6
--          commands.
local lease, registry, due, reaping = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local stamp, skew, claim_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local condemned = try('HMGET', reaping, stamp)
if condemned.err then return redis.error_reply('BROKEN reaping') end
local deadlines = try('ZMSCORE', due, stamp)
if deadlines.err then return redis.error_reply('BROKEN due') end
local deadline = tonumber(deadlines[1] or '')
if condemned[1] then
  -- Whoever reaps has claimMs for it; after that the next one may.
  if not deadline or deadline <= ms then call('ZADD', due, format('%.0f', ms + claim_ms), stamp) end
  return tonumber(match(condemned[1], '^%d+')) or redis.error_reply('BROKEN reaping')
end
if not deadline or deadline + skew >= ms or call('EXISTS', lease) == 1 then return 0 end
if type(try('HDEL', registry, stamp)) ~= 'number' then return redis.error_reply('BROKEN registry') end
call('HSET', reaping, stamp, format('%.0f', deadline) .. ' ' .. format('%.0f', ms))
call('ZADD', due, format('%.0f', ms + claim_ms), stamp)
return deadline
