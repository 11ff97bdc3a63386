-- What a script may name.
std = "lua51"
read_globals = { "redis", "cjson", "KEYS", "ARGV" }
max_line_length = 122

-- The prelude scripts/common.lua, which scripts.go puts into every script. The test of package scripts checks the
-- scripts with it in place, and without these names.
files["scripts/*.lua"].read_globals = {
  "call", "try", "format", "match", "time", "us", "ms", "MEMBER", "SESSION_FIELDS",
}
