package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/child"
)

// patience is how long a measured process may take to end.
const patience = 2 * time.Second

// server is a private Redis.
type server struct {
	*child.Process
	socket string
	client *redis.Client
}

func startRedis(ctx context.Context, dir, program string) (*server, error) {
	s := &server{socket: filepath.Join(dir, "r.sock")}
	var err error
	s.Process, err = child.Start(dir, "redis", nil, program, "--port", "0", "--unixsocket", s.socket,
		"--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--notify-keyspace-events", "Ex", "--loglevel", "warning")
	if err != nil {
		return nil, err
	}
	s.client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, MaxRetries: -1})
	err = s.Await(ctx, func() bool { return s.client.Ping(ctx).Err() == nil })
	if err != nil {
		s.Stop(patience)
		return nil, err
	}
	return s, nil
}

// floor is one run of tools/floor.
type floor struct {
	*child.Process
	port int
}

func startFloor(ctx context.Context, dir, program string, args ...string) (*floor, error) {
	c, err := child.Start(dir, "floor", nil, program, args...)
	if err != nil {
		return nil, err
	}
	f := &floor{Process: c}
	err = c.Await(ctx, func() bool {
		b, err := c.Output()
		if err != nil {
			return false
		}
		n, _ := fmt.Sscanf(string(b), "listening %d\n", &f.port)
		return n == 1
	})
	if err != nil {
		c.Stop(patience)
		return nil, err
	}
	return f, nil
}

// nodeProcess is one `presence serve`.
type nodeProcess struct {
	*child.Process
	port, admin int
}

// apiKey opens the node under measurement. It grants nothing elsewhere.
const apiKey = "bench.key:benchbenchbenchbenchbench"

func startNode(ctx context.Context, dir, program, redisSocket string) (*nodeProcess, error) {
	n := &nodeProcess{}
	var err error
	if n.port, err = child.FreePort(); err != nil {
		return nil, err
	}
	if n.admin, err = child.FreePort(); err != nil {
		return nil, err
	}
	n.Process, err = child.Start(dir, "node", []string{
		"PRESENCE_NODE_ID=bench",
		"PRESENCE_LISTEN_CLIENT=127.0.0.1:" + strconv.Itoa(n.port),
		"PRESENCE_LISTEN_ADMIN=127.0.0.1:" + strconv.Itoa(n.admin),
		"PRESENCE_REDIS_URL=unix://" + redisSocket + "?db=0",
		"PRESENCE_AUTH_KEYS=" + apiKey,
		"PRESENCE_LOG_FORMAT=json",
		"PRESENCE_LOG_LEVEL=warn", // a line for each of thousands of ends is not what is measured
	}, program, "serve")
	if err != nil {
		return nil, err
	}
	err = n.Await(ctx, func() bool {
		r, err := http.Get(n.url("/readyz"))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	if err != nil {
		n.Stop(patience)
		return nil, err
	}
	return n, nil
}

func (n *nodeProcess) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(n.admin) + path
}

// samples is one reading of the node's metrics: each name's sum over its labels.
type samples map[string]float64

func (n *nodeProcess) metrics() (samples, error) {
	r, err := http.Get(n.url("/metrics"))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", r.Status)
	}
	sums := samples{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		line := lines.Text()
		value := line[strings.LastIndexByte(line, ' ')+1:]
		v, err := strconv.ParseFloat(value, 64)
		if strings.HasPrefix(line, "#") || err != nil {
			continue
		}
		sums[line[:strings.IndexAny(line, "{ ")]] += v
	}
	return sums, lines.Err()
}

// collect makes the node run its garbage collector, so that what is resident
// afterwards is what the connections need and not what their making left.
func (n *nodeProcess) collect() error {
	r, err := http.Get(n.url("/debug/pprof/heap?gc=1"))
	if err != nil {
		return fmt.Errorf("garbage collection: %w", err)
	}
	_, err = io.Copy(io.Discard, r.Body)
	return errors.Join(err, r.Body.Close())
}
