package e2e

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"presencesets/internal/child"
	"presencesets/internal/redistest"
)

// program is the built presence, made once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "presence")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/presence").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const apiKey = "localapp.localkey:localonlysecret000000000"

// world is Redis, two nodes and HAProxy. The link of n2 to Redis can be cut.
type world struct {
	n1, n2 *node
	link   *link
	edge   string // where clients connect to HAProxy
	stats  string // HAProxy's socket for questions
}

// node is one running node.
type node struct {
	*child.Process
	client, admin string // addresses
}

func start(t *testing.T) *world {
	t.Helper()
	redis := redistest.Start(t)
	w := &world{link: newLink(t, redis.Addr())}
	w.n1 = startNode(t, "n1", redis.Addr())
	w.n2 = startNode(t, "n2", w.link.addr)
	w.startHAProxy(t)
	return w
}

// startNode runs one node; env comes last and wins.
func startNode(t *testing.T, id, redisAddr string, env ...string) *node {
	t.Helper()
	n := &node{client: freeAddr(t), admin: freeAddr(t)}
	n.Process = run(t, id, append([]string{
		"PRESENCE_NODE_ID=" + id,
		"PRESENCE_LISTEN_CLIENT=" + n.client,
		"PRESENCE_LISTEN_ADMIN=" + n.admin,
		"PRESENCE_REDIS_URL=redis://" + redisAddr + "/0",
		"PRESENCE_LEASE_TTL=2s", // a lost Redis is noticed sooner than by default
		"PRESENCE_LEASE_BEAT=500ms",
		"PRESENCE_SESSIONS_GRACE=5s", // the least
		"PRESENCE_DRAIN_GRACE=5s",
		"PRESENCE_DRAIN_DELAY=0s",
		"PRESENCE_DRAIN_WINDOW=1s",
		"PRESENCE_AUTH_KEYS=" + apiKey,
	}, env...), program, "serve")
	await(t, n.Process, func() bool { return n.ready() == http.StatusOK })
	return n
}

// ready asks the node what a balancer asks it: 200, 503, or 0 for no answer.
func (n *node) ready() int {
	r, err := http.Get("http://" + n.client + "/readyz")
	if err != nil {
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}

// startHAProxy runs the deployed file, and beside it one that only opens the
// socket for questions.
func (w *world) startHAProxy(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "h") // a unix socket's path must stay under 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.edge, w.stats = freeAddr(t), filepath.Join(dir, "s")
	extra := filepath.Join(dir, "stats.cfg")
	if err := os.WriteFile(extra, []byte("global\n    stats socket "+w.stats+" mode 600 level operator\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, "haproxy", []string{
		"EDGE_BIND=" + w.edge, "NODE1=" + w.n1.client, "NODE2=" + w.n2.client, "CHECK_INTERVAL=200ms",
	}, "haproxy", "-db", "-f", "../deploy/haproxy/haproxy.cfg", "-f", extra)
	await(t, p, func() bool { return w.server(t, "n1")["status"] == "UP" && w.server(t, "n2")["status"] == "UP" })
	t.Cleanup(func() {
		if out, _ := p.Output(); strings.Contains(string(out), "localonlysecret") {
			t.Error("HAProxy's log holds the API key")
		}
	})
}

// server returns what HAProxy says of one of its servers, by column; nothing
// while it does not answer.
func (w *world) server(t *testing.T, name string) map[string]string {
	t.Helper()
	c, err := net.Dial("unix", w.stats)
	if err != nil {
		return nil
	}
	defer c.Close()
	if _, err := io.WriteString(c, "show stat\n"); err != nil {
		return nil
	}
	rows, err := csv.NewReader(c).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	for _, row := range rows[1:] {
		values := map[string]string{}
		for i, column := range rows[0] {
			values[strings.TrimPrefix(column, "# ")] = row[i]
		}
		if values["pxname"] == "nodes" && values["svname"] == name {
			return values
		}
	}
	return nil
}

// run starts a program that ends with the test.
func run(t *testing.T, name string, env []string, program string, args ...string) *child.Process {
	t.Helper()
	p, err := child.Start(t.TempDir(), name, env, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(10 * time.Second)
		said, err := p.Output()
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(said)) {
			if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, `"msg":"panic`) {
				t.Errorf("%s: %s", name, line)
			}
		}
		if t.Failed() {
			t.Logf("%s, at its end:\n%s", name, p.Tail())
		}
	})
	return p
}

// await fails the test when the program ends or does not get there.
func await(t *testing.T, p *child.Process, ready func() bool) {
	t.Helper()
	if err := p.Await(context.Background(), ready); err != nil {
		t.Fatal(err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}
