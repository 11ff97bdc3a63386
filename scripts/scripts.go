// Package scripts holds the Lua that runs in Redis: one file an operation,
// readable beside the keys of docs/redis.md.
//
// Every script begins with a header that says what it does, which keys and
// arguments it takes, what it returns, which invariants it keeps and what it
// costs; a file without one is refused. Behind the first line, `#!lua` and
// its flags, stands the prelude common.lua.
package scripts

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// preludeFile is not a script: its text goes into each of them.
const preludeFile = "common.lua"

//go:embed *.lua
var files embed.FS

// all is every script, ordered by name. A file that is not a script ends the
// program here, so a build that starts has no such file.
var all = func() []Script {
	list, err := load(files)
	if err != nil {
		panic(err)
	}
	return list
}()

// Script is one Lua script as Redis is given it.
type Script struct {
	Name   string // the file's name without .lua: "join"
	Source string // with the prelude
	SHA    string // of Source: what EVALSHA and SLOWLOG call it
}

// All returns every script, ordered by name. The slice is the caller's.
func All() []Script { return slices.Clone(all) }

// Get returns the script of that name. There is no other name than those of
// the files here: an unknown one is a bug, and panics.
func Get(name string) Script {
	i := slices.IndexFunc(all, func(s Script) bool { return s.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("scripts: there is no %s.lua", name))
	}
	return all[i]
}

// load reads every script of fsys and puts the prelude into each.
func load(fsys fs.FS) ([]Script, error) {
	prelude, err := fs.ReadFile(fsys, preludeFile)
	if err != nil {
		return nil, fmt.Errorf("scripts: %w", err)
	}
	names, err := fs.Glob(fsys, "*.lua") // in the order of the names
	if err != nil {
		return nil, fmt.Errorf("scripts: %w", err)
	}
	var list []Script
	for _, file := range names {
		if file == preludeFile {
			continue
		}
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("scripts: %w", err)
		}
		name := strings.TrimSuffix(path.Base(file), ".lua")
		if err := checkHeader(name, string(text)); err != nil {
			return nil, fmt.Errorf("scripts: %s: %w", file, err)
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		source := first + "\n" + string(prelude) + rest
		sum := sha1.Sum([]byte(source))
		list = append(list, Script{Name: name, Source: source, SHA: hex.EncodeToString(sum[:])})
	}
	return list, nil
}

// checkHeader returns an error when text does not begin with `#!lua` and a
// comment that has every part of a header, in order.
func checkHeader(name, text string) error {
	lines := strings.Split(text, "\n")
	if lines[0] != "#!lua" && lines[0] != "#!lua flags=allow-oom" {
		return fmt.Errorf("the first line is %q; want #!lua, with flags=allow-oom where it must run when memory is full", lines[0])
	}
	parts := []string{"-- " + name + ".lua: ", "-- KEYS", "-- ARGV", "-- Returns", "-- Keeps", "Cost: "}
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line, "--") {
			break
		}
		for len(parts) > 0 && (strings.HasPrefix(line, parts[0]) || parts[0] == "Cost: " && strings.Contains(line, parts[0])) {
			parts = parts[1:]
		}
	}
	if len(parts) > 0 {
		return fmt.Errorf("the header has no %q", strings.TrimSpace(parts[0]))
	}
	return nil
}
