#!lua flags=allow-oom
-- leave.lua: end memberships. 1 to 16 operations, one slot.
--
-- KEYS[i]  <p>:{app:room}:members   hash: `#` → revision, connection → member JSON
-- ARGV     validUntil (ms), floor (0); then for each operation: channel, conn, inc, reason, data (opaque JSON) or ``
-- Returns  for each operation: its revision | 0 not a member | "FENCED inc" | "BROKEN"; or the error "FENCED lease"
--          for all
-- Publishes one `leave` a membership, with the member as it was; data, where given, stands in place of the old.
-- Keeps    invariants 1, 2, 5, 8, 9, 10: who removes the field publishes, and nobody else. The last member takes the key
--          with it.  Cost: O(1), 5 commands an operation, 4 for the last member, 1 for none; TIME once a call.
local valid_until, floor = tonumber(ARGV[1]), tonumber(ARGV[2])
if ms > valid_until then return redis.error_reply('FENCED lease') end
local now = format('%.0f', ms)

local results = {}
for i = 1, #KEYS do
  local a = 5 * i - 2 -- behind 2 arguments for all, 5 for each
  local key, channel, conn, inc, reason, data = KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  repeat -- once: a break ends this operation, and not its neighbours
    local found = try('HMGET', key, '#', conn)
    if found.err then results[i] = 'BROKEN' break end
    local last, old = found[1], found[2]
    local count = tonumber(last)
    if last and not count then results[i] = 'BROKEN' break end
    if not old then results[i] = 0 break end
    local old_inc = match(old, MEMBER)
    if not old_inc then results[i] = 'BROKEN' break end
    if tonumber(old_inc) > tonumber(inc) then results[i] = 'FENCED inc' break end

    local prev = last or '1' -- no `#` beside members, by somebody's hand: a gap, so that every node looks
    local rev = count and count + 1 or us
    if rev < floor then rev = floor end
    local digits = format('%.0f', rev)
    if call('HLEN', key) == (last and 2 or 1) then
      call('DEL', key)
    else
      call('HDEL', key, conn)
      call('HSET', key, '#', digits)
    end
    if data ~= '' then -- in place of the old: `","data":` cannot be inside the client id, where a quote is always escaped
      local quote = string.find(old, '","data":', 1, true)
      old = string.sub(old, 1, quote or -2) .. ',"data":' .. data .. '}'
    end
    local line = 'leave ' .. digits .. ' ' .. prev .. ' ' .. conn .. ' ' .. now .. ' ' .. reason .. ' ' .. old
    call('SPUBLISH', channel, line)
    results[i] = rev
  until true
end
return results
