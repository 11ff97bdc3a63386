#!lua flags=allow-oom
-- untrack.lua: forget a room that the connection has left. It runs after a leave that was answered; while a former owner
-- of the session may still write (`fence`), the room stays listed with flag x instead.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
-- ARGV     inc, room (app:room), or `` to remove a fence that is over; validUntil (ms; absent or ``: no end); `x` (may be
--          absent): only a room that has flag x, so that what was tracked again since stays
-- Returns  1 | "LATER" (until the sweep behind the fence) | "FENCED inc" (taken over, ended, or gone; of a fence: not
--          live, so that it is whoever claims it who needs it) | "BROKEN"; or the
--          error "FENCED lease": an untrack that was on its way for long must not undo the track of a later join
-- Keeps    invariants 1, 5, 10.  Cost: O(1), 3 commands; of a fence O(rooms), 4.
local session, inc, room, valid_until, only = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3] or ''), ARGV[4]
local field = room == '' and 'fence' or 'room:' .. room
if valid_until and ms > valid_until then return redis.error_reply('FENCED lease') end

local found = try('HMGET', session, 'inc', 'fence', field, 'state')
if found.err then return 'BROKEN' end
if found[1] ~= inc or room == '' and found[4] ~= 'live' then return 'FENCED inc' end
local fence, value = tonumber(found[2] or 0), found[3]
if not fence then return 'BROKEN' end
if only == 'x' and room ~= '' and value and string.sub(value, 1, 1) ~= 'x' then return 1 end
-- At `fence` itself its owner's last write may still run. And behind it the leave that came before this may be older than
-- that write: only the sweep, which leaves behind the fence, forgets a room while a fence is there.
if ms <= fence or fence > 0 and room ~= '' and only ~= 'x' then
  if room ~= '' and value then call('HSET', session, field, 'x' .. string.sub(value, 2)) end
  return 'LATER'
end
if room == '' and value then
  local all = call('HGETALL', session)
  for i = 1, #all, 2 do -- a room that was left since the sweep looked: it must look again
    if string.sub(all[i], 1, 5) == 'room:' and string.sub(all[i + 1], 1, 1) == 'x' then return 'LATER' end
  end
end
if value then call('HDEL', session, field) end
return 1
