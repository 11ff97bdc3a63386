#!lua flags=allow-oom
-- mark.lua: lift rooms' revisions to a floor, so that none is used twice after a master lost writes. 1 to 16 operations,
-- one slot.
--
-- KEYS[i]  <p>:{app:room}:members   hash: `#` → revision, connection → member JSON
-- ARGV     validUntil (ms); then for each operation: channel, floor
-- Returns  for each operation: the revision after it | 0 no room | "BROKEN"; or the error "FENCED lease" for all
-- Publishes one `mark` a change: <rev> moved, no member did. Nodes apply it, or find a gap and look.
-- Keeps    invariants 1, 5, 8, 10.  Cost: O(1), 1 command an operation, 3 where it changes something; TIME once a call.
local valid_until = tonumber(ARGV[1])
if ms > valid_until then return redis.error_reply('FENCED lease') end
local now = format('%.0f', ms)

local function mark(key, channel, floor)
  local found = try('HMGET', key, '#')
  if found.err then return 'BROKEN' end
  if not found[1] then return 0 end
  local last = tonumber(found[1])
  if not last then return 'BROKEN' end
  if last >= floor then return last end
  local digits = format('%.0f', floor)
  call('HSET', key, '#', digits)
  call('SPUBLISH', channel, 'mark ' .. digits .. ' ' .. found[1] .. ' - ' .. now .. ' - -')
  return floor
end

local results = {}
for i = 1, #KEYS do
  results[i] = mark(KEYS[i], ARGV[2 * i], tonumber(ARGV[2 * i + 1]))
end
return results
