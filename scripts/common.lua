-- common.lua: the prelude. scripts.go puts it behind the `#!lua` line of every script, which then has these names.
-- luacheck: push ignore 211
local call, try = redis.call, redis.pcall -- `try` for the first access to each key: a wrong type then fails one operation

-- Digits of a whole number up to 2^53: tostring loses them from 10^14 on.
local function num(n) return string.format('%.0f', n) end

-- Redis's clock, the only one that is trusted: µs and ms. Once a call.
local function now()
  local t = call('TIME')
  local us = t[1] * 1000000 + t[2]
  return us, math.floor(us / 1000)
end

local SESSION_FIELDS = 8 -- of a live session, besides its rooms: app key client node inc from state grace

-- What a node gets whose right to write is over; for the whole call.
local function fenced_lease() return redis.error_reply('FENCED lease') end

-- A member's inc, at and tail; nothing when the value is not one of ours. The tail is `"client":C}` or
-- `"client":C,"data":D}`: opaque, only ever copied.
local function cut(value)
  return string.match(value, '^{"rev":%d+,"inc":(%d+),"node":"[^"]*","at":(%d+),("client":.*})$')
end

-- A room's revision before and after a change. `last` is the field `#`. Where it is absent the room is empty and starts
-- at Redis's clock; or somebody deleted the field (`peopled`), and prev = 1 makes every node see a gap and look.
local function follow(last, peopled, us, floor)
  if last then return last, math.max(last + 1, floor) end
  return peopled and 1 or 0, math.max(us, floor)
end

-- One line of the room's feed: <kind> <rev> <prev> <conn> <ms> <reason> <member JSON>.
local function publish(channel, kind, rev, prev, conn, ms, reason, value)
  call('SPUBLISH', channel, kind .. ' ' .. rev .. ' ' .. num(prev) .. ' ' .. conn .. ' ' .. num(ms) .. ' ' .. reason ..
    ' ' .. value)
end
-- luacheck: pop
