#!lua
-- open.lua: make the session of a new connection.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash, must not exist
--          <p>:{c3f}:node:<stamp>     hash: connections that the node holds in this shard, connection → inc
-- ARGV     conn, min inc (0), stamp, app, key, client, graceMs, secret or ``, validUntil (ms)
-- Returns  the connection's inc | "EXISTS" (resume it) | "BROKEN"; or the error "FENCED lease"
-- Keeps    invariants 5, 6: inc comes from Redis's clock, so it grows even over sessions that were deleted.
--          Cost: O(1), 4 commands.  No allow-oom: refused whole when memory is full.
local session, index = KEYS[1], KEYS[2]
local conn, min_inc, stamp, app, key, client, grace, secret = unpack(ARGV, 1, 8)
if ms > tonumber(ARGV[9]) then return redis.error_reply('FENCED lease') end

local fields = try('HLEN', session)
if type(fields) ~= 'number' then return 'BROKEN' end
if fields > 0 then return 'EXISTS' end
local inc = math.max(ms, tonumber(min_inc))
local digits = format('%.0f', inc)
if type(try('HSET', index, conn, digits)) ~= 'number' then return 'BROKEN' end -- the last thing that can be refused
call('HSET', session, 'app', app, 'key', key, 'client', client, 'node', stamp, 'inc', digits, 'from', digits,
  'state', 'live', 'grace', grace)
if secret ~= '' then call('HSET', session, 'secret', secret) end
return inc
