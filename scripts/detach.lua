#!lua flags=allow-oom
-- detach.lua: a connection has lost its socket. Its memberships go on for the grace, in which it may be resumed on any
-- node; from here a crash cannot lose it: `due` brings whoever claims it.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
--          <p>:{c3f}:grace:<conn>     string: exists while the connection may still resume; value: its inc
--          <p>:{c3f}:due              zset: connection → deadline (ms)
-- ARGV     conn, inc, graceMs, fence (ms: highest validUntil of operations without an answer) or 0;
--          then for each room of which it was sent events: room (app:room), revision from which a resume replays
-- Returns  the deadline (ms) | 0 nothing to do (taken over, dropped, ended, or gone) | "BROKEN"
-- Keeps    invariants 3, 5, 10. Of a room only REV changes, never its flag: a room that was left stays left.
--          Cost: O(rooms given), 4 commands.
local session, grace, due = KEYS[1], KEYS[2], KEYS[3]
local conn, inc, grace_ms, fence = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local fields = { 'inc', 'state', 'fence' }
for i = 5, #ARGV, 2 do
  fields[#fields + 1] = 'room:' .. ARGV[i]
end
local found = try('HMGET', session, unpack(fields))
if found.err then return 'BROKEN' end
if found[1] ~= inc or found[2] ~= 'live' then return 0 end
local known = tonumber(found[3] or 0)
if not known then return 'BROKEN' end

local deadline = ms + grace_ms
local digits = format('%.0f', deadline)
if type(try('ZADD', due, digits, conn)) ~= 'number' then return 'BROKEN' end
local set = { 'state', 'grace', 'due', digits }
if fence > known then set[5], set[6] = 'fence', format('%.0f', fence) end -- it only grows
for i = 4, #fields do
  local flag, subs = match(found[i] or '', '^(%S+) %d+ (.*)$')
  if flag then -- it is listed
    set[#set + 1] = fields[i]
    set[#set + 1] = flag .. ' ' .. ARGV[2 * i - 2] .. ' ' .. subs
  end
end
call('HSET', session, unpack(set))
if grace_ms > 0 then call('SET', grace, inc, 'PXAT', digits) end
return deadline
