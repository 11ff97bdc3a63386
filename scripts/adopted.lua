#!lua flags=allow-oom
-- adopted.lua: every adopt of a resume is answered, so what lands of an earlier incarnation from here on is not to be
-- adopted by the next one: its client may have left meanwhile, and was told so. It runs before that client is answered,
-- where the session has a fence.
--
-- KEYS     <p>:{c3f}:session:<conn>   hash
-- ARGV     inc, validUntil (ms)
-- Returns  1 | "FENCED inc" (taken over, ended, or gone) | "BROKEN"; or the error "FENCED lease"
-- Keeps    invariants 2, 5, 10.  Cost: O(1), 2 commands.
local session, inc = KEYS[1], ARGV[1]
if ms > tonumber(ARGV[2]) then return redis.error_reply('FENCED lease') end

local found = try('HMGET', session, 'inc', 'state')
if found.err then return 'BROKEN' end
if found[1] ~= inc or found[2] ~= 'live' then return 'FENCED inc' end
call('HSET', session, 'from', inc)
return 1
