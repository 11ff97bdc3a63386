#!lua
-- update.lua: replace the data of members of rooms. 1 to 16 operations, one slot.
--
-- KEYS[i]  <p>:{app:room}:members   hash: `#` → revision, connection → member JSON
-- ARGV     validUntil (ms), floor (0), stamp; then for each operation: channel, conn, inc, retry 0|1, tail (opaque JSON)
-- Returns  for each operation: its revision | 0 unchanged (a retry of what is there) | "ABSENT" not a member |
--          "FENCED inc" | "BROKEN"; or the error "FENCED lease" for all
-- Publishes one `update` a change to the room's feed, in the same step. An update to the same data is one, too: users
--          count on it; only a retry is silent.
-- Keeps    invariants 1, 2, 5, 6, 8, 9.  Cost: O(1), 3 commands an operation; TIME once a call.  No allow-oom: refused
--          whole when memory is full.
local valid_until, floor, stamp = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if ms > valid_until then return redis.error_reply('FENCED lease') end
local now = format('%.0f', ms)

local results = {}
for i = 1, #KEYS do
  local a = 5 * i - 1 -- behind 3 arguments for all, 5 for each
  local key, channel, conn, inc, retry, tail = KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  repeat -- once: a break ends this operation, and not its neighbours
    local found = try('HMGET', key, '#', conn)
    if found.err then results[i] = 'BROKEN' break end
    local last, old = found[1], found[2]
    local count = tonumber(last)
    if last and not count then results[i] = 'BROKEN' break end
    if not old then results[i] = 'ABSENT' break end
    local old_inc, at, old_tail = match(old, MEMBER)
    if not old_inc then results[i] = 'BROKEN' break end
    if tonumber(old_inc) > tonumber(inc) then results[i] = 'FENCED inc' break end
    if retry == '1' and old_inc == inc and old_tail == tail then results[i] = 0 break end

    local prev = last or '1' -- no `#` beside members, by somebody's hand: a gap, so that every node looks
    local rev = count and count + 1 or us
    if rev < floor then rev = floor end
    local digits = format('%.0f', rev)
    local value = '{"rev":' .. digits .. ',"inc":' .. inc .. ',"node":"' .. stamp .. '","at":' .. at .. ',' .. tail
    call('HSET', key, '#', digits, conn, value)
    call('SPUBLISH', channel, 'update ' .. digits .. ' ' .. prev .. ' ' .. conn .. ' ' .. now .. ' - ' .. value)
    results[i] = rev
  until true
end
return results
