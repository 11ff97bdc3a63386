package presence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule forbids a package, and all below it, to depend on others.
type rule struct {
	pkg     string   // a package of ours, "" for the root; "*" for each but those in except
	except  []string //
	not     []string // import paths; "x/..." is x and all below it
	because string
}

const module = "presencesets"

// rules is the picture of the imports, as a test:
//
//	presence (root) ← protocol ← node              scripts    ← redisstore
//	presence        ← auth     ← node              metrics    ← redisstore, node
//	presence        ← redisstore                   everything ← cmd/presence
//
// What is not drawn is not allowed. Only code that is not a test counts.
var rules = []rule{
	{
		pkg: "", not: []string{module + "/..."},
		because: "the root package is the vocabulary of all others: it would know what it is used for",
	},
	{
		pkg: "protocol", not: []string{module + "/auth/...", module + "/metrics/...", module + "/node/...", module + "/redisstore/...", module + "/scripts/...", module + "/cmd/...", module + "/web/..."},
		because: "protocol encodes and decodes, nothing else; it can be fuzzed and read alone",
	},
	{
		pkg: "auth", not: []string{module + "/protocol/...", module + "/metrics/...", module + "/node/...", module + "/redisstore/...", module + "/scripts/...", module + "/cmd/...", module + "/web/..."},
		because: "auth turns credentials into an identity, whoever asks",
	},
	{
		pkg: "scripts", not: []string{module, module + "/..."},
		because: "scripts embeds Lua, and has no use for Go types",
	},
	{
		pkg: "metrics", not: []string{module, module + "/..."},
		because: "everything counts by metrics; a dependency of it would be one of everything",
	},
	{
		pkg: "web", not: []string{module, module + "/..."},
		because: "web embeds the page; who serves it and from where is cmd's to say",
	},
	{
		pkg: "node", not: []string{module + "/redisstore/...", module + "/scripts/...", module + "/cmd/...", module + "/web/..."},
		because: "node declares the Store that it consumes; that is what lets it be tested without Redis",
	},
	{
		pkg: "redisstore", not: []string{module + "/protocol/...", module + "/auth/...", module + "/node/...", module + "/cmd/...", module + "/web/..."},
		because: "the store keeps opaque bytes; who may do what, and how it looks on the wire, is the edge's",
	},

	{pkg: "protocol", not: []string{"net"}, because: "protocol touches no socket"},
	{pkg: "auth", not: []string{"net"}, because: "auth touches no socket"},
	{pkg: "scripts", not: []string{"net"}, because: "scripts touches no socket"},
	{pkg: "", not: []string{"net"}, because: "the vocabulary touches no socket"},
}

// direct are rules about what a package's own files import: another package
// may well bring the same thing in. Benches and test tools, below internal,
// measure and drive everything and are free.
var direct = []rule{
	{
		pkg: "*", except: []string{"redisstore", "internal"}, not: []string{"github.com/redis/go-redis/..."},
		because: "only redisstore talks to Redis: every key, fence and retry is in one place",
	},
	{
		pkg: "*", except: []string{"node", "internal"}, not: []string{"github.com/gobwas/ws/...", "golang.org/x/sys/..."},
		because: "websocket frames and raw system calls are node's",
	},
	{
		pkg: "*", except: []string{"metrics", "internal"}, not: []string{"github.com/prometheus/..."},
		because: "metrics are defined once, in metrics, and counted by the fields of metrics.Metrics",
	},
	{
		pkg: "*", except: []string{"cmd", "internal"}, not: []string{"github.com/spf13/..."},
		because: "settings and flags end in cmd: a package takes Options",
	},
	{
		pkg: "protocol", not: []string{"os", "sync"},
		because: "protocol has no I/O and no goroutine",
	},
	{
		pkg: "scripts", not: []string{"os"},
		because: "scripts is embedded text",
	},
	{
		pkg: "", not: []string{"os"},
		because: "the vocabulary touches no file",
	},
	{
		pkg: "*", except: []string{"internal", "cmd"}, not: []string{"testing", module + "/internal/..."},
		because: "what is for tests and benches does not belong into the program",
	},
	{
		pkg: "cmd", not: []string{"testing", module + "/internal/redistest", module + "/internal/wstest"},
		because: "`presence bench` is a command, tests are none",
	},
}

type listed struct {
	ImportPath    string
	Imports, Deps []string
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	packages := list(t)
	check := func(rules []rule, what string, of func(listed) []string) {
		for _, r := range rules {
			matched := false
			for _, p := range packages {
				if !r.covers(name(p)) {
					continue
				}
				matched = true
				for _, dep := range of(p) {
					if r.forbids(p.ImportPath, dep) {
						t.Errorf("%s %s %s, but must not: %s", p.ImportPath, what, dep, r.because)
						break // one is enough to be red
					}
				}
			}
			if !matched {
				t.Errorf("a rule is about %q, which is no package", r.pkg)
			}
		}
	}
	check(rules, "depends on", func(p listed) []string { return p.Deps })
	check(direct, "imports", func(p listed) []string { return p.Imports })
}

func TestARuleIsBrokenByWhatItForbidsOnly(t *testing.T) {
	r := rule{pkg: "node", not: []string{"net", module + "/redisstore/..."}}
	for dep, want := range map[string]bool{
		"net": true, "net/netip": false, "network": false,
		module + "/redisstore": true, module + "/redisstore/x": true, module: false, module + "/node": false,
	} {
		if got := r.forbids(module+"/node", dep); got != want {
			t.Errorf("forbids(%q) = %v, want %v", dep, got, want)
		}
	}
	if root := (rule{not: []string{module + "/..."}}); !root.forbids(module, module+"/node") || root.forbids(module, "time") {
		t.Error("the rule of the root package does not forbid all others, and only them")
	}
	for pkg, want := range map[string]bool{"node": true, "node/x": true, "nodes": false, "": false} {
		if got := r.covers(pkg); got != want {
			t.Errorf("covers(%q) = %v, want %v", pkg, got, want)
		}
	}
	if all := (rule{pkg: "*", except: []string{"cmd"}}); all.covers("cmd/presence") || !all.covers("auth") || !all.covers("") {
		t.Error("except is not honoured")
	}
}

func (r rule) covers(pkg string) bool {
	if r.pkg == "*" {
		return !slices.ContainsFunc(r.except, func(e string) bool { return under(pkg, e) })
	}
	return pkg == r.pkg || r.pkg != "" && under(pkg, r.pkg)
}

func (r rule) forbids(pkg, dep string) bool {
	return slices.ContainsFunc(r.not, func(n string) bool {
		top, below := strings.CutSuffix(n, "/...")
		own := pkg != module && under(dep, pkg) // its own subpackages
		return dep == top || below && under(dep, top) && !own
	})
}

func under(path, top string) bool { return path == top || strings.HasPrefix(path, top+"/") }

// name is a package's path below the module, "" for the root.
func name(p listed) string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// list asks the go command for our packages and what they depend on.
func list(t *testing.T) (packages []listed) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatalf("read go list: %v", err)
		}
		packages = append(packages, p)
	}
}
