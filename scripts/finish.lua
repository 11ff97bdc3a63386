#!lua flags=allow-oom
-- finish.lua: end the round of leaves that a claim or a close began. At most 100 connections, one shard.
--
-- KEYS     <p>:{c3f}:due               zset: connection → deadline (ms)
--          then for each connection: <p>:{c3f}:session:<conn> (hash), <p>:{c3f}:node:<stamp> of the session's node (hash)
-- ARGV     claim time (ms) of the claim that began this round; 0 after a close or a help;
--          then for each connection: conn, inc, retentionMs (0: nothing of it can be resumed)
-- Returns  for each connection: "away" (rooms and subscriptions can still be resumed, or a fence is not over) | "gone"
--          (the session is deleted) | 0 not ours (resumed, or finished by another) | "BROKEN"; or the error "BROKEN due"
-- Keeps    invariants 1, 2, 5, 10: a round that began before the fence forgets nothing, and at the fence all its leaves
--          are made again. The claim's time counts, not this call's: a slow reaper must not end a round whose leaves
--          another one made.  Cost: O(connections), 4 to 6 commands a connection and 2 a call.
local due, claimed = KEYS[1], tonumber(ARGV[1])
if type(try('ZCARD', due)) ~= 'number' then return redis.error_reply('BROKEN due') end

-- Whether a session may be resumed after it ended for this reason.
local function resumable(why) return why ~= 'closed' and why ~= 'kicked' and why ~= 'expired' end

local function finish(conn, inc, retention, session, index)
  local found = try('HMGET', session, 'inc', 'state', 'fence', 'why', 'secret', 'due')
  if found.err then return 'BROKEN' end
  if found[1] ~= inc or found[2] ~= 'leaving' then return 0 end
  local fence = tonumber(found[3] or 0)
  if not fence or type(try('HDEL', index, conn)) ~= 'number' then return 'BROKEN' end

  if fence > 0 and claimed <= fence then -- at `fence` itself a former owner's last write may still run
    call('HSET', session, 'state', 'away')
    call('ZADD', due, format('%.0f', fence), conn)
    return 'away'
  end
  if retention > 0 and resumable(found[4]) then
    local fields = SESSION_FIELDS
    for i = 3, 6 do
      if found[i] then fields = fields + 1 end
    end
    if call('HLEN', session) > fields then -- it lists a room
      if fence > 0 then call('HDEL', session, 'fence') end
      call('HSET', session, 'state', 'away')
      call('ZADD', due, format('%.0f', ms + retention), conn)
      return 'away'
    end
  end
  call('DEL', session)
  call('ZREM', due, conn)
  return 'gone'
end

local results = {}
for i = 1, (#KEYS - 1) / 2 do
  local a = 3 * i - 1 -- behind 1 argument for all, 3 for each
  results[i] = finish(ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), KEYS[2 * i], KEYS[2 * i + 1])
end
return results
