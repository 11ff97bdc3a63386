#!lua flags=allow-oom
-- claim.lua: take connections that are due, so that they leave. The caller goes on with leave in every listed room and
-- finish; if it dies, they are due again in claimMs. At most 100 connections, one shard.
--
-- KEYS     <p>:{c3f}:due               zset: connection → deadline (ms)
--          then for each connection: <p>:{c3f}:session:<conn> (hash), <p>:{c3f}:grace:<conn> (string)
-- ARGV     claimMs, conn …  (as ZRANGEBYSCORE due -inf now LIMIT 0 100 gave them)
-- Returns  the claim time (ms, for finish); then for each connection that was still due and has a session: conn, its
--          fields as HGETALL, or "BROKEN" (it stays due). State `leaving`: make it leave. State `gone`: its retention
--          is over and the session deleted. Or the error "BROKEN due"
-- Keeps    invariants 1, 2, 3, 4, 10.  Cost: O(connections × their rooms), 2 commands a connection and 5 a call.
local due, claim_ms = KEYS[1], tonumber(ARGV[1])
local deadlines = try('ZMSCORE', due, unpack(ARGV, 2))
if deadlines.err then return redis.error_reply('BROKEN due') end
local again = format('%.0f', ms + claim_ms)
local results, leaving, over, keys = { ms }, {}, {}, {}

local function reply(conn, fields)
  results[#results + 1] = conn
  results[#results + 1] = fields
end

local function claim(conn, session, grace)
  local fields = try('HGETALL', session)
  if fields.err then
    leaving[#leaving + 1], leaving[#leaving + 2] = again, conn
    return reply(conn, 'BROKEN')
  end
  local at = {} -- field → place of its value
  for i = 1, #fields, 2 do
    at[fields[i]] = i + 1
  end
  local state = fields[at.state]
  if #fields == 0 or state == 'live' then
    over[#over + 1] = conn
    return
  end
  if not state or not fields[at.inc] then
    leaving[#leaving + 1], leaving[#leaving + 2] = again, conn
    return reply(conn, 'BROKEN')
  end
  if state == 'away' and not at.fence then
    over[#over + 1] = conn
    keys[#keys + 1] = session
    fields[at.state] = 'gone'
    return reply(conn, fields)
  end
  fields[at.state] = 'leaving'
  if not at.why then
    fields[#fields + 1] = 'why'
    fields[#fields + 1] = state == 'held' and 'expired' or 'timeout'
    call('HSET', session, 'state', 'leaving', 'why', fields[#fields])
  else
    call('HSET', session, 'state', 'leaving')
  end
  leaving[#leaving + 1], leaving[#leaving + 2] = again, conn
  keys[#keys + 1] = grace
  return reply(conn, fields)
end

for i = 2, #ARGV do
  local deadline = deadlines[i - 1]
  if deadline and tonumber(deadline) <= ms then claim(ARGV[i], KEYS[2 * i - 2], KEYS[2 * i - 1]) end
end
if #leaving > 0 then call('ZADD', due, unpack(leaving)) end
if #over > 0 then call('ZREM', due, unpack(over)) end
if #keys > 0 then call('DEL', unpack(keys)) end
return results
