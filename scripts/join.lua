#!lua
-- join.lua: make connections members of their rooms, or replace their data where they are. 1 to 16 operations, one slot.
--
-- KEYS[i]  <p>:{app:room}:members   hash: `#` → revision, connection → member JSON
-- ARGV     validUntil (ms), floor (0), stamp, maxMembers (0 = no limit);
--          then for each operation: channel, conn, inc, retry 0|1, tail (opaque JSON)
-- Returns  for each operation: "<rev> <at>", its revision, or 0 where a retry found what it wanted, and the time of the
--          member's first join (ms) | "FULL" | "FENCED inc" | "BROKEN"; or the error "FENCED lease" for all
-- Publishes one event a change to the room's feed, in the same step: `join`, or `update` where it was a member.
-- Keeps    invariants 1, 2, 5, 6, 8, 9.  Cost: O(1), 3 commands an operation and HLEN for a new member; TIME once a
--          call.  No allow-oom: refused whole when memory is full.
local valid_until, floor, stamp, max = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if ms > valid_until then return redis.error_reply('FENCED lease') end
local now = format('%.0f', ms)

local results = {}
for i = 1, #KEYS do
  local a = 5 * i -- behind 4 arguments for all, 5 for each
  local key, channel, conn, inc, retry, tail = KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  repeat -- once: a break ends this operation, and not its neighbours
    local found = try('HMGET', key, '#', conn)
    if found.err then results[i] = 'BROKEN' break end
    local last, old = found[1], found[2]
    local count = tonumber(last)
    if last and not count then results[i] = 'BROKEN' break end

    local kind, at, prev = 'update', now, last or '1' -- no `#` beside members, by somebody's hand: a gap, so all look
    if old then
      local old_inc, old_at, old_tail = match(old, MEMBER)
      if not old_inc then results[i] = 'BROKEN' break end
      if tonumber(old_inc) > tonumber(inc) then results[i] = 'FENCED inc' break end
      if retry == '1' and old_inc == inc and old_tail == tail then results[i] = '0 ' .. old_at break end
      at = old_at
    else
      local fields = call('HLEN', key)
      if max > 0 and fields - (last and 1 or 0) >= max then results[i] = 'FULL' break end
      kind = 'join'
      if fields == 0 then prev = '0' end
    end

    local rev = count and count + 1 or us
    if rev < floor then rev = floor end
    local digits = format('%.0f', rev)
    local value = '{"rev":' .. digits .. ',"inc":' .. inc .. ',"node":"' .. stamp .. '","at":' .. at .. ',' .. tail
    call('HSET', key, '#', digits, conn, value)
    call('SPUBLISH', channel, kind .. ' ' .. digits .. ' ' .. prev .. ' ' .. conn .. ' ' .. now .. ' - ' .. value)
    results[i] = digits .. ' ' .. at
  until true
end
return results
