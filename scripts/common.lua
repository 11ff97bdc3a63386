-- common.lua: the prelude. scripts.go puts it behind the `#!lua` line of every script, which then has these names.
--
-- It has no functions, nor have the three scripts that run most: Lua makes each function anew in every call, and with its
-- upvalues one costs about what a command does (7 % of a join). So the lines that join, update and leave have in common
-- stand in each of them.
-- luacheck: push ignore 211
local call, try = redis.call, redis.pcall -- try: the first access to each key, so that a wrong type fails one operation
local format, match = string.format, string.match -- '%.0f' for numbers: tostring loses digits from 10^14 on

-- Redis's clock, the only one that is trusted, once a call.
local time = call('TIME')
local us = time[1] * 1000000 + time[2]
local ms = (us - us % 1000) / 1000

-- A member's inc, at and tail. The tail is `"client":C}` or `"client":C,"data":D}`: opaque, only ever copied.
local MEMBER = '^{"rev":%d+,"inc":(%d+),"node":"[^"]*","at":(%d+),("client":.*})$'

-- How many fields a live session has besides its rooms: app key client node inc from state grace.
local SESSION_FIELDS = 8
-- luacheck: pop
