package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"presencesets/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const goodHeader = "#!lua\n-- x.lua: does a thing.\n--\n-- KEYS  a\n-- ARGV  b\n-- Returns c\n-- Keeps invariant 1.  Cost: O(1).\nreturn 1\n"

func TestLoadPutsThePreludeBehindTheFirstLine(t *testing.T) {
	list, err := load(fstest.MapFS{
		"common.lua": {Data: []byte("-- prelude\n")},
		"x.lua":      {Data: []byte(goodHeader)},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(goodHeader, "#!lua\n", "#!lua\n-- prelude\n", 1)
	if len(list) != 1 || list[0].Name != "x" || list[0].Source != want {
		t.Errorf("load gave %+v, want x with source %q", list, want)
	}
}

func TestLoadRefusesAFileWithoutItsHeader(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no shebang", "#!lua\n", "", "the first line"},
		{"other flags", "#!lua\n", "#!lua flags=no-writes\n", "the first line"},
		{"another name", "x.lua", "y.lua", `no "-- x.lua:"`},
		{"no keys", "-- KEYS", "-- ", `no "-- KEYS"`},
		{"no arguments", "-- ARGV", "-- ", `no "-- ARGV"`},
		{"no results", "-- Returns", "-- ", `no "-- Returns"`},
		{"no invariants", "-- Keeps", "-- ", `no "-- Keeps"`},
		{"no cost", "Cost:", "", `no "Cost:"`},
		{"header after code", "-- KEYS", "local x\n-- KEYS", `no "-- KEYS"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(fstest.MapFS{
				"common.lua": {Data: []byte("-- prelude\n")},
				"x.lua":      {Data: []byte(strings.Replace(goodHeader, c.old, c.new, 1))},
			})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.lua") {
				t.Errorf("load gave error %v, want one with x.lua and %q", err, c.want)
			}
		})
	}
	if _, err := load(fstest.MapFS{"x.lua": {Data: []byte(goodHeader)}}); err == nil {
		t.Error("load without common.lua gave no error")
	}
}

func TestPreludeIsAtMostFortyLines(t *testing.T) {
	text, err := files.ReadFile(preludeFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 40 {
		t.Errorf("common.lua has %d lines, want at most 40: every call pays for it", n)
	}
}

func TestRedisNamesEachScriptAsWeDo(t *testing.T) {
	c := redistest.Shared(t).Client(t)
	for _, s := range All() {
		sha, err := c.ScriptLoad(t.Context(), s.Source).Result()
		if err != nil || sha != s.SHA {
			t.Errorf("SCRIPT LOAD of %s gave %q, %v; want %q", s.Name, sha, err, s.SHA)
		}
	}
}

func TestGetPanicsForAnUnknownName(t *testing.T) {
	if s := Get("join"); s.Name != "join" || len(s.SHA) != 40 {
		t.Errorf("Get(join) = %q, %q", s.Name, s.SHA)
	}
	defer func() {
		if recover() == nil {
			t.Error("Get of an unknown script did not panic")
		}
	}()
	Get("nonsense")
}

// The assembled scripts may name redis, KEYS and ARGV, and nothing else: not
// even cjson, since what clients send is opaque.
func TestLuacheckIsCleanOnTheAssembledScripts(t *testing.T) {
	luacheck, err := exec.LookPath("luacheck")
	if err != nil {
		t.Skip("luacheck is not installed (Debian: sudo apt-get install lua-check)")
	}
	dir := t.TempDir()
	args := []string{
		"--no-color", "--codes", "--no-config", "--no-cache", "--no-max-line-length",
		"--std", "lua51", "--read-globals", "redis", "KEYS", "ARGV", "--",
	}
	for _, s := range All() {
		file := filepath.Join(dir, s.Name+".lua")
		if err := os.WriteFile(file, []byte(s.Source), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command(luacheck, args...).CombinedOutput(); err != nil {
		t.Errorf("luacheck: %v\n%s", err, out)
	}
}
