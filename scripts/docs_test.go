package scripts

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/redis.md promises to explain every key. The keys are those of the
// scripts' headers and of the picture in redisstore/keys.go, in the notation
// of the page: `<p>:{c3f}:due`.
func TestThePageOfRedisHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadFile("../redisstore/keys.go")
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.NewReplacer("<", "", ">", "") // headers write {app:room}, the page {<app>:<room>}
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if key, ok := strings.CutPrefix(line, "| `<p>:"); ok {
			key, _, _ = strings.Cut(key, "`")
			documented[plain.Replace(key)] = true
		}
	}
	pattern := regexp.MustCompile(`<p>:(\{\S+)`)
	for _, s := range append(All(), Script{Name: "redisstore/keys.go", Source: string(names)}) {
		for _, m := range pattern.FindAllStringSubmatch(s.Source, -1) {
			key := plain.Replace(strings.TrimRight(m[1], ",.;)`"))
			if !documented[key] {
				t.Errorf("%s has the key <p>:%s, the table of docs/redis.md has not", s.Name, m[1])
			}
		}
	}
	if len(documented) == 0 {
		t.Error("docs/redis.md has no table of keys")
	}
}

// What the page quotes of the code must stay so.
func TestThePageOfRedisHasEveryKindAndReason(t *testing.T) {
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		"join", "update", "leave", "mark", "left", "room_left", "closed", "timeout",
		"node_lost", "kicked", "expired", "unknown",
	} {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("docs/redis.md does not explain %q", word)
		}
	}
}
