package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Options says what is measured and how long.
type Options struct {
	Presence string    // the program to measure; it is run as `PROGRAM serve`
	Redis    string    // path of a redis-server, or of what is one when it is started by that name
	Floor    string    // the built tools/floor/floor.c
	Smoke    bool      // few connections and short rounds: does it run at all?
	Only     []string  // names of the cases to run, of Cases(); none: all
	Profile  string    // folder for a CPU profile of the node in each case; "": none. It costs a few per cent
	Progress io.Writer // a line when a case begins
}

// size is how much of everything a run takes.
type size struct {
	pair    int           // connections to each of two servers at the same time
	many    int           // connections to one server
	dials   int           // connections of one round of the handshake case
	rounds  int           // rounds of each server
	length  time.Duration // of one round
	presses int           // publishes in flight in the coalescing case
}

var (
	fullSize  = size{pair: 5000, many: 10000, dials: 2000, rounds: 5, length: 2 * time.Second, presses: 16}
	smokeSize = size{pair: 100, many: 300, dials: 100, rounds: 1, length: 200 * time.Millisecond, presses: 4}
)

// outstanding is the number of requests without an answer in every case that
// keeps a server busy: enough to never wait, few enough to not queue.
const outstanding = 64

// harness is one run of the bench.
type harness struct {
	Options
	size
	ctx   context.Context
	dir   string // sockets and logs
	redis *server
	rows  []Row
}

// Cases lists the names that Options.Only takes, in the order they run.
func Cases() []string {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

var cases = []struct {
	name string
	run  func(*harness) error
}{
	{"echo", (*harness).echo},
	{"delivery", (*harness).delivery},
	{"handshake", (*harness).handshake},
	{"memory", (*harness).memory},
	{"rooms", (*harness).rooms},
	{"operations", (*harness).operations},
}

// Run starts what it measures, runs the cases one after the other and returns
// their rows. It blocks for minutes (a few seconds with Smoke). Nothing that
// it started is left, unless this process is killed: then the kernel ends it.
func Run(ctx context.Context, o Options) (_ []Row, err error) {
	h := &harness{Options: o, size: fullSize, ctx: ctx}
	if o.Smoke {
		h.size = smokeSize
	}
	if h.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	// Debian's redis-check-rdb is the server, when its name says so.
	program := filepath.Join(h.dir, "redis-server")
	if err := os.Symlink(o.Redis, program); err != nil {
		return nil, err
	}
	if h.redis, err = startRedis(ctx, h.dir, program); err != nil {
		return nil, err
	}
	defer h.redis.Stop(patience)
	defer h.redis.client.Close()
	for _, c := range cases {
		if len(o.Only) > 0 && !slices.Contains(o.Only, c.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		fmt.Fprintln(o.Progress, "bench:", c.name)
		if err := c.run(h); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return h.rows, nil
}

// node starts a fresh node on an empty Redis.
func (h *harness) node() (*nodeProcess, error) {
	if err := h.redis.client.FlushAll(h.ctx).Err(); err != nil {
		return nil, fmt.Errorf("empty Redis: %w", err)
	}
	return startNode(h.ctx, h.dir, h.Presence, h.redis.socket)
}

// connect makes a fleet of n connections to the node, each with a clientId.
func (h *harness) connect(n *nodeProcess, count int) (*fleet, error) {
	f, err := newFleet(n.port, func(i int) string {
		return "/core?apiKey=" + apiKey + "&clientId=client" + strconv.Itoa(i)
	}, true)
	if err != nil {
		return nil, err
	}
	if err := f.dial(count, outstanding); err != nil {
		f.close()
		return nil, fmt.Errorf("node: %w: %s", err, n.Tail())
	}
	return f, nil
}

// connectFloor makes a fleet of n connections to the floor.
func (h *harness) connectFloor(t *floor, count int) (*fleet, error) {
	f, err := newFleet(t.port, func(int) string { return "/" }, false)
	if err != nil {
		return nil, err
	}
	if err := f.dial(count, outstanding); err != nil {
		f.close()
		return nil, fmt.Errorf("floor: %w", err)
	}
	return f, nil
}

// spent returns the CPU time that each of the processes used while do ran.
func spent(do func() error, pids ...int) ([]time.Duration, error) {
	before := make([]time.Duration, len(pids))
	var err error
	for i, pid := range pids {
		if before[i], err = cpu(pid); err != nil {
			return nil, err
		}
	}
	if err := do(); err != nil {
		return nil, err
	}
	used := make([]time.Duration, len(pids))
	for i, pid := range pids {
		now, err := cpu(pid)
		if err != nil {
			return nil, err
		}
		used[i] = now - before[i]
	}
	return used, nil
}

// interleave runs ours and the floor's round in turn and returns what each
// round measured.
func (h *harness) interleave(ours, floor func() (float64, error)) (a, b []float64, err error) {
	for range h.size.rounds {
		x, err := ours()
		if err != nil {
			return nil, nil, err
		}
		y, err := floor()
		if err != nil {
			return nil, nil, fmt.Errorf("floor: %w", err)
		}
		a, b = append(a, x), append(b, y)
	}
	return a, b, nil
}

// settle waits until the process is idle: less than 2 % of a core over 200 ms.
// A process that never gets there within 10 s is taken as it is: a busy
// machine makes a bad figure, not a failed run.
func settle(ctx context.Context, pid int) error {
	const slice = 200 * time.Millisecond
	last, err := cpu(pid)
	for range 10 * time.Second / slice {
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(slice):
		}
		var now time.Duration
		if now, err = cpu(pid); now-last < slice/50 {
			return err
		}
		last = now
	}
	return err
}

// micros returns d/n in µs.
func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}
