#!lua flags=allow-oom
-- retire.lua: give up a stamp by consent, without waiting for the lease to end. The node has ended or detached its
-- connections before; what it left behind is reaped as after a crash, until bury.
--
-- KEYS     <p>:{nodes}:lease:<stamp>   string with a TTL: the node is alive
--          <p>:{nodes}:registry        hash: stamp → what the node says of itself (JSON)
--          <p>:{nodes}:due             zset: stamp → when somebody must look at it (ms)
--          <p>:{nodes}:reaping         hash: stamp → `<lease end ms> <condemned ms>`
-- ARGV     stamp, ttlMs, claimMs
-- Returns  the lease's end (ms): now + ttlMs, or what it was when the stamp was condemned before | 0 nobody has this
--          stamp; or the error "BROKEN registry|due|reaping"
-- Keeps    invariants 5, 10: this stamp never writes again.  Cost: O(1), 5 to 6 commands.
local lease, registry, due, reaping = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local stamp, ttl, claim_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local condemned = try('HMGET', reaping, stamp)
if condemned.err then return redis.error_reply('BROKEN reaping') end
local deadlines = try('ZMSCORE', due, stamp)
if deadlines.err then return redis.error_reply('BROKEN due') end
if condemned[1] then
  -- Whoever reaps has claimMs for it; after that the next one may.
  if not deadlines[1] or tonumber(deadlines[1]) <= ms then call('ZADD', due, format('%.0f', ms + claim_ms), stamp) end
  return tonumber(match(condemned[1], '^%d+')) or redis.error_reply('BROKEN reaping')
end
local known = try('HDEL', registry, stamp)
if type(known) ~= 'number' then return redis.error_reply('BROKEN registry') end
if known == 0 then return 0 end
local lease_end = ms + ttl
call('DEL', lease)
call('HSET', reaping, stamp, format('%.0f', lease_end) .. ' ' .. format('%.0f', ms))
call('ZADD', due, format('%.0f', ms + claim_ms), stamp)
return lease_end
