#!lua
-- track.lua: list a room in its connection's session, or replace what is listed. It runs before the first join into the
-- room, so that the list holds every membership at every instant.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
-- ARGV     inc, validUntil (ms), room (app:room), value (FLAG REV SUBS), max rooms (0 = no limit)
-- Returns  1 | "FULL" | "FENCED inc" (taken over, ended, or gone) | "BROKEN"; or the error "FENCED lease"
-- Keeps    invariants 1, 5, 7.  Cost: O(1), 3 commands and HLEN for a new room.  No allow-oom: refused whole when memory
--          is full.
local session, inc, field, value, max = KEYS[1], ARGV[1], 'room:' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
if ms > tonumber(ARGV[2]) then return redis.error_reply('FENCED lease') end

local found = try('HMGET', session, 'inc', 'state', field, 'secret', 'fence')
if found.err then return 'BROKEN' end
if found[1] ~= inc or found[2] ~= 'live' then return 'FENCED inc' end
if max > 0 and not found[3] then
  local fields = SESSION_FIELDS + (found[4] and 1 or 0) + (found[5] and 1 or 0) -- live: no `due`, no `why`
  if call('HLEN', session) - fields >= max then return 'FULL' end
end
call('HSET', session, field, value)
return 1
