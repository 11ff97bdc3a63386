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

-- The member's value with other data. `","data":` cannot be inside the client id, where a quote is always escaped.
local function replace_data(value, data)
  local quote = string.find(value, '","data":', 1, true)
  return string.sub(value, 1, quote or -2) .. ',"data":' .. data .. '}'
end

local function leave(key, channel, conn, inc, reason, data)
  local found = try('HMGET', key, '#', conn)
  if found.err then return 'BROKEN' end
  local last, old = found[1], found[2]
  if last and not tonumber(last) then return 'BROKEN' end
  if not old then return 0 end
  local old_inc = match(old, MEMBER)
  if not old_inc then return 'BROKEN' end
  if tonumber(old_inc) > tonumber(inc) then return 'FENCED inc' end

  local prev = last or '1' -- no `#` beside members, by somebody's hand: a gap, so that every node looks
  local rev = last and last + 1 or us
  if rev < floor then rev = floor end
  local digits = format('%.0f', rev)
  if call('HLEN', key) == (last and 2 or 1) then
    call('DEL', key)
  else
    call('HDEL', key, conn)
    call('HSET', key, '#', digits)
  end
  if data ~= '' then old = replace_data(old, data) end
  call('SPUBLISH', channel, 'leave ' .. digits .. ' ' .. prev .. ' ' .. conn .. ' ' .. now .. ' ' .. reason .. ' ' .. old)
  return rev
end

local results = {}
for i = 1, #KEYS do
  local a = 5 * i - 2 -- behind 2 arguments for all, 5 for each
  results[i] = leave(KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4])
end
return results
