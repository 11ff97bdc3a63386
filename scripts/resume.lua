#!lua flags=allow-oom
-- resume.lua: a connection comes back on a socket of this node: out of its grace, after its memberships ended (`away`),
-- or while another socket still has it, which is then told to forget it. The caller goes on with adopt in every room that
-- is returned, and acknowledges then.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
--          <p>:{c3f}:grace:<conn>     string: exists while the connection may still resume
--          <p>:{c3f}:due              zset: connection → deadline (ms)
--          <p>:{c3f}:node:<stamp>     hash, of the old stamp: connections that it holds in this shard, connection → inc
--          <p>:{c3f}:node:<stamp>     hash, of the new stamp; may be the same
-- ARGV     conn, app, key, client, secret (its SHA-256) or ``, new stamp, old stamp (as HGET node gave it), validUntil
--          (ms), newest (ms: upper estimate of Redis's time when the socket came), min inc (0), fenceMs, old ctl channel
-- Returns  new inc, fence (ms) or 0, old state (live, grace, away), its fields as they were, as HGETALL; or "GONE" (open
--          it) | "DENIED" (another's) | "LATE" (taken after this socket came: refuse it, never retry) | "LEAVING <inc>"
--          (help, then again) | "MOVED <stamp>" (again, with this old stamp) | "BROKEN"; or the error "FENCED lease"
-- Publishes `taken <conn> <inc>` on the old ctl channel where it was live.
-- Keeps    invariants 4, 5, 6, 7, 10. Whoever had it live may still write until `fence`, so until then no room is
--          forgotten.  Cost: O(rooms of the connection), 6 to 8 commands.
local session, grace, due, old_index, new_index = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local conn, app, key, client, secret, stamp, old_stamp = unpack(ARGV, 1, 7)
local newest, min_inc, fence_ms, old_ctl = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12]
if ms > tonumber(ARGV[8]) then return redis.error_reply('FENCED lease') end

local fields = try('HGETALL', session)
if fields.err then return 'BROKEN' end
if #fields == 0 then return 'GONE' end
local was = {}
for i = 1, #fields, 2 do
  was[fields[i]] = fields[i + 1]
end
local state, old_inc, fence, deadline = was.state, tonumber(was.inc), tonumber(was.fence or 0), tonumber(was.due or 0)
if not (state and old_inc and fence and deadline) then return 'BROKEN' end
if was.app ~= app or was.client ~= client then return 'DENIED' end
if was.secret and was.secret ~= secret then return 'DENIED' end -- an id is public: it is in every event
if state == 'held' then return 'DENIED' end -- no socket ever had it
if old_inc > newest then return 'LATE' end
if state == 'leaving' or state == 'grace' and deadline <= ms then return 'LEAVING ' .. was.inc end
if was.node ~= old_stamp then return 'MOVED ' .. (was.node or '') end

local inc = math.max(min_inc, old_inc + 1, ms)
local digits = format('%.0f', inc)
-- In the order in which each may be refused: what the earlier ones did then harms nobody.
if type(try('HSET', new_index, conn, digits)) ~= 'number' then return 'BROKEN' end
if old_index ~= new_index and type(try('HDEL', old_index, conn)) ~= 'number' then return 'BROKEN' end
if state ~= 'live' and type(try('ZREM', due, conn)) ~= 'number' then return 'BROKEN' end

local set, over = { 'state', 'live', 'inc', digits, 'node', stamp, 'key', key }, { 'due', 'why' }
if state == 'live' then
  fence = math.max(fence, ms + fence_ms)
  set[9], set[10] = 'fence', format('%.0f', fence)
elseif state == 'away' then
  set[9], set[10] = 'from', digits -- a member with a lower inc is left over from before
  local ended = was.why == 'closed' or was.why == 'kicked' -- it is here until its fence: its rooms are not to come back
  for field, value in pairs(was) do
    if string.sub(field, 1, 5) == 'room:' and (ended or string.sub(value, 1, 1) == 'x') then
      if fence == 0 then -- nothing can land there any more, and no sweep at a fence is to come
        over[#over + 1] = field
      else
        set[#set + 1] = field
        set[#set + 1] = 'x' .. string.sub(value, 2)
      end
    end
  end
end
call('HSET', session, unpack(set))
call('HDEL', session, unpack(over))
call('DEL', grace)
if state == 'live' then call('SPUBLISH', old_ctl, 'taken ' .. conn .. ' ' .. digits) end
return { inc, fence, state, fields }
