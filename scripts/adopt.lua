#!lua flags=allow-oom
-- adopt.lua: after a resume, put memberships under the connection's new incarnation and node. No revision, no event:
-- nobody sees a reconnect. From here what the old node still writes is refused. 1 to 16 operations, one slot.
--
-- KEYS[i]  <p>:{app:room}:members   hash: `#` → revision, connection → member JSON
-- ARGV     validUntil (ms), stamp; then for each operation: conn, inc, from (the session's)
-- Returns  for each operation: the member's new value (JSON, so it begins with a brace) | 0 not a member | "OLD" its inc
--          is below from, so it is left over from an earlier life or landed late: `leave` it | "FENCED inc" | "BROKEN";
--          or the error "FENCED lease" for all. Called again it returns the same.
-- Keeps    invariants 2, 5, 6, 7, 10.  Cost: O(1), 2 commands an operation, 1 for none; TIME once a call.
local valid_until, stamp = tonumber(ARGV[1]), ARGV[2]
if ms > valid_until then return redis.error_reply('FENCED lease') end

local results = {}
for i = 1, #KEYS do
  local a = 3 * i -- behind 2 arguments for all, 3 for each
  local key, conn, inc, from = KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2]
  repeat -- once: a break ends this operation, and not its neighbours
    local found = try('HMGET', key, conn)
    if found.err then results[i] = 'BROKEN' break end
    local old = found[1]
    if not old then results[i] = 0 break end
    local old_inc, at, tail = match(old, MEMBER)
    if not old_inc then results[i] = 'BROKEN' break end
    if tonumber(old_inc) > tonumber(inc) then results[i] = 'FENCED inc' break end
    if tonumber(old_inc) < tonumber(from) then results[i] = 'OLD' break end

    local rev = match(old, '%d+') -- the first digits of a member
    local value = '{"rev":' .. rev .. ',"inc":' .. inc .. ',"node":"' .. stamp .. '","at":' .. at .. ',' .. tail
    if value ~= old then call('HSET', key, conn, value) end
    results[i] = value
  until true
end
return results
