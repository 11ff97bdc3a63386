#!lua flags=allow-oom
-- orphan.lua: connections whose node is gone have lost their sockets: begin their grace, as of the node's last beat. At
-- most 200 connections, one shard. Repeating it is harmless.
--
-- KEYS     <p>:{c3f}:node:<stamp>   hash: connections that the node holds in this shard, connection → inc
--          <p>:{c3f}:due            zset: connection → deadline (ms)
--          then for each connection: <p>:{c3f}:session:<conn> (hash), <p>:{c3f}:grace:<conn> (string)
-- ARGV     stamp, why (node_lost; timeout of a drain or a lost socket), lease end (ms), ttlMs (of the lease), graceMs
--          (0 = each session's own); then conn …  (as HSCAN of the index gave them)
-- Returns  how many were live there and are now in grace; or the error "BROKEN index|due"
-- Keeps    invariants 3, 5, 10. None stays in the index, whatever its session says, so that the stamp can be buried.
--          Cost: O(connections), 1 to 3 commands a connection and 5 a call.
local index, due = KEYS[1], KEYS[2]
local stamp, why, lease_end, ttl, grace_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if type(try('HLEN', index)) ~= 'number' then return redis.error_reply('BROKEN index') end
if type(try('ZCARD', due)) ~= 'number' then return redis.error_reply('BROKEN due') end

local listed, count = {}, 0
for i = 6, #ARGV do
  local conn, session, grace = ARGV[i], KEYS[2 * i - 9], KEYS[2 * i - 8]
  local found = try('HMGET', session, 'state', 'node', 'inc', 'grace')
  if not found.err and found[1] == 'live' and found[2] == stamp and found[3] then
    local own = grace_ms > 0 and grace_ms or tonumber(found[4] or 0) or 0
    local deadline = lease_end + math.max(0, own - ttl)
    local digits = format('%.0f', deadline)
    call('HSET', session, 'state', 'grace', 'why', why, 'due', digits)
    if deadline > ms then call('SET', grace, found[3], 'PXAT', digits) end
    count = count + 1
    listed[2 * count - 1], listed[2 * count] = digits, conn
  end
end
if count > 0 then call('ZADD', due, unpack(listed)) end
if #ARGV > 5 then call('HDEL', index, unpack(ARGV, 6)) end
return count
