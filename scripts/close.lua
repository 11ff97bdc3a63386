#!lua flags=allow-oom
-- close.lua: begin the end of a connection at once. From here a crash cannot lose it: whoever called goes on with leave
-- in every listed room and finish (claim time 0); if it dies, `due` brings the next one.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
--          <p>:{c3f}:grace:<conn>     string: exists while the connection may still resume
--          <p>:{c3f}:due              zset: connection → deadline (ms)
-- ARGV     conn, inc, claimMs, why (closed, timeout, expired …), fence (ms: highest validUntil of operations without an
--          answer) or 0
-- Returns  the session's fields, as HGETALL; empty when there is nothing to do (taken over, dropped, ended, or gone); or
--          "BROKEN". Called again after an answer that was lost, it returns the same.
-- Keeps    invariants 2, 3, 5, 10.  Cost: O(rooms of the connection), 6 commands.
local session, grace, due = KEYS[1], KEYS[2], KEYS[3]
local conn, inc, claim_ms, why, fence = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local found = try('HMGET', session, 'inc', 'state', 'fence')
if found.err then return 'BROKEN' end
if found[1] ~= inc then return {} end
local known = tonumber(found[3] or 0)
if not known then return 'BROKEN' end
local state = found[2]
if state == 'leaving' then return call('HGETALL', session) end
if state ~= 'live' and state ~= 'held' then return {} end

local listed = try('ZADD', due, format('%.0f', ms + claim_ms), conn)
if type(listed) ~= 'number' then return 'BROKEN' end
call('HSET', session, 'state', 'leaving', 'why', why)
if fence > known then call('HSET', session, 'fence', format('%.0f', fence)) end -- it only grows
call('DEL', grace)
return call('HGETALL', session)
