package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"presencesets/internal/child"
	"presencesets/internal/netfault"
)

const (
	app    = "localapp"
	apiKey = "localapp.localkey:localonlysecret000000000"
)

// Options says how large a field is and which settings its nodes have.
type Options struct {
	Program string // the built presence
	Redis   string // single, sentinel or cluster
	Dir     string // for logs; must exist
	Long    bool   // default times, and as many memberships as Clients × Rooms each
	Clients int
	Each    int // memberships of a client
	Rooms   int
	Pace    time.Duration // mean time between two acts of a client
	Only    string        // regular expression: which cells; "": those of the form
	Keep    bool          // write the notes of every cell, not only of failed ones
	Tell    bool          // what took longer than its bound is told, and fails no cell: for machines that do other things, too
	Log     func(format string, args ...any)
}

// field is the whole set-up. All but what is set once is owned by the stage.
type field struct {
	// set once
	o     Options
	times times
	st    *stage
	redis *deployment
	nodes []*node
	rooms int

	clients   []*client
	observers []*observer
	wrecks    []*socket // half-open ones, until the cell is over
	names     int
	data      int
	asked     int64
	dialing   int
	connected int
	churning  bool
	up        []bool // which nodes a balancer would choose
	crashed   []bool // which died since the cell began

	// of this cell
	cell       *result
	cuts       map[ws.StatusCode]int
	refusals   map[string]int
	resumes    int
	late       int // answers to the lost socket that came on the next one
	acts       int
	stalled    time.Duration // longest that the machine or Redis stood still, as seen from here
	slowest    time.Duration
	answers    int
	hit        hit
	violations map[string]int
	notes      []string
}

// node is one process with the proxies beside it.
type node struct {
	*child.Process
	index       int
	addr, admin string
	edge        *netfault.Proxy // between frail clients and it
	life        int
}

// newField starts everything and returns when observers and clients are in.
func newField(ctx context.Context, o Options) (f *field, err error) {
	f = &field{o: o, st: newStage(), rooms: o.Rooms, up: make([]bool, 3), crashed: make([]bool, 3)}
	f.times = times{ttl: 2 * time.Second, beat: 500 * time.Millisecond, grace: 5 * time.Second, ping: 2 * time.Second, pong: time.Second, retention: 6 * time.Second}
	if o.Long {
		f.times = times{ttl: 6 * time.Second, beat: 2 * time.Second, grace: 10 * time.Second, ping: 25 * time.Second, pong: 10 * time.Second, retention: 15 * time.Second}
	}
	f.reset(&result{})
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
			f = nil
		}
	}()
	if f.redis, err = deploy(ctx, modes[o.Redis]); err != nil {
		return f, err
	}
	for i := range 3 {
		n := &node{index: i}
		f.nodes = append(f.nodes, n)
		for _, addr := range []*string{&n.addr, &n.admin} {
			if *addr, err = quietAddr(); err != nil {
				return f, err
			}
		}
		if n.edge, err = netfault.Listen(n.addr); err != nil {
			return f, err
		}
		if err := f.startNode(ctx, n); err != nil {
			return f, err
		}
	}
	return f, nil
}

// startNode runs the node (again) and waits until it is ready.
func (f *field) startNode(ctx context.Context, n *node) error {
	n.life++
	env := []string{
		"PRESENCE_NODE_ID=n" + strconv.Itoa(n.index+1),
		"PRESENCE_LISTEN_CLIENT=" + n.addr, "PRESENCE_LISTEN_ADMIN=" + n.admin,
		"PRESENCE_REDIS_URL=" + f.redis.url,
		"PRESENCE_AUTH_KEYS=" + apiKey,
		"PRESENCE_LEASE_TTL=" + f.times.ttl.String(), "PRESENCE_LEASE_BEAT=" + f.times.beat.String(),
		"PRESENCE_SESSIONS_GRACE=" + f.times.grace.String(), "PRESENCE_SESSIONS_RETENTION=" + f.times.retention.String(),
		"PRESENCE_PING_INTERVAL=" + f.times.ping.String(), "PRESENCE_PING_TIMEOUT=" + f.times.pong.String(),
		"PRESENCE_LIMITS_REQUESTS=0", "PRESENCE_LIMITS_OTHER_REQUESTS=0", "PRESENCE_LIMITS_ROOMS=0",
		"PRESENCE_EDGE_QUEUE_BYTES=16MiB", // an observer of every room is no ordinary client
		"PRESENCE_LOG_FORMAT=text",
	}
	if !f.o.Long {
		env = append(env, "PRESENCE_DRAIN_DELAY=300ms", "PRESENCE_DRAIN_WINDOW=1s")
	}
	var err error
	n.Process, err = child.Start(f.o.Dir, fmt.Sprintf("n%d.%d", n.index+1, n.life), env, f.o.Program, "serve")
	if err != nil {
		return err
	}
	if err := n.Await(ctx, func() bool { return n.ready() == http.StatusOK }); err != nil {
		return err
	}
	f.st.do(func() { f.up[n.index] = true })
	return nil
}

// ready asks the node what a balancer asks it: 200, 503, or 0 for no answer.
func (n *node) ready() int {
	c := http.Client{Timeout: time.Second}
	r, err := c.Get("http://" + n.addr + "/readyz")
	if err != nil {
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}

// populate has observers come, then clients until there are as many as asked for.
func (f *field) populate(ctx context.Context) error {
	f.st.do(func() {
		for i := range f.nodes {
			f.observers = append(f.observers, f.observe(i))
		}
	})
	if err := f.until(ctx, time.Minute, "the observers have every room", f.observersReady); err != nil {
		return err
	}
	f.st.do(func() {
		for range f.o.Clients {
			f.replace()
		}
	})
	return f.until(ctx, 5*time.Minute, "every client is a member of its rooms", f.allSettled)
}

// replace has a new client come.
func (f *field) replace() {
	f.names++
	c := &client{f: f, name: "c" + strconv.Itoa(f.names), node: f.names % len(f.nodes), frail: f.names%10 == 0}
	first := rand.IntN(f.rooms)
	for i := range f.o.Each {
		c.seats = append(c.seats, &seat{room: (first + i*7) % f.rooms})
	}
	f.clients = append(f.clients, c)
	c.enter()
	f.tick(c)
}

// tick lets the client act now and then, while there is churn.
func (f *field) tick(c *client) {
	f.st.after(rand.N(2*f.o.Pace), func() {
		if c.phase == gone {
			return
		}
		if f.churning {
			c.act()
		}
		f.tick(c)
	})
}

// pick returns the node itself when it is up, or one that is.
func (f *field) pick(node int) int {
	for range f.nodes {
		if f.up[node] {
			return node
		}
		node = (node + 1) % len(f.nodes)
	}
	return node
}

func (f *field) room(i int) string { return "room:" + strconv.Itoa(i) }

func (f *field) index(room string) int {
	i, err := strconv.Atoi(room[len("room:"):])
	if err != nil || i >= f.rooms {
		panic("an event of a room that nobody asked for: " + room)
	}
	return i
}

// answer notes how long a node took to answer. One that was stopped could not.
func (f *field) answer(c *client, took time.Duration) {
	f.answers++
	if c.node != f.hit.node {
		f.slowest = max(f.slowest, took)
	}
}

// violate notes a broken promise with its evidence.
func (f *field) violate(what, format string, args ...any) {
	f.violations[what]++
	if f.violations[what] <= 5 {
		f.note("VIOLATION "+what+": "+format, args...)
	}
}

// note keeps a line of what happened, for whoever looks into a failed cell.
func (f *field) note(format string, args ...any) {
	if len(f.notes) < 4000 {
		f.notes = append(f.notes, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// until polls a condition on the stage; its error says what is missing.
func (f *field) until(ctx context.Context, patience time.Duration, what string, is func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for asked := 1; ; asked++ {
		var err error
		f.st.do(func() {
			if err = is(); err != nil && asked%60 == 0 {
				f.note("still waiting: %s: %v", what, err)
			}
		})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("not within %v: %s: %w", patience, what, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *field) observersReady() error {
	for _, o := range f.observers {
		if !o.dead && (o.sock == nil || o.ready < len(o.rooms)) {
			return fmt.Errorf("%s at n%d has %d of %d rooms (socket: %v)", o.name, o.node+1, o.ready, len(o.rooms), o.sock != nil)
		}
	}
	return nil
}

func (f *field) allSettled() error {
	open := 0
	var example *client
	for _, c := range f.clients {
		if !c.settled() {
			open++
			example = c
		}
	}
	if open == 0 {
		return nil
	}
	s := fmt.Sprintf("phase %d, attempt %d, %d to ask", example.phase, example.attempt, len(example.todo))
	if example.cur != nil {
		s += fmt.Sprintf(", %s in %s asked %v ago for the %d. time, last refused with %q",
			example.cur.op, f.room(example.cur.seat.room), time.Since(example.cur.asked).Round(time.Millisecond), example.cur.tries, example.cur.last)
	}
	return fmt.Errorf("%d of %d are not settled, such as %s %s at n%d: %s", open, len(f.clients), example.name, example.id, example.node+1, s)
}

// close ends everything that the field started.
func (f *field) close() error {
	for _, n := range f.nodes {
		if n.Process != nil {
			_ = syscall.Kill(n.PID(), syscall.SIGCONT) // an error: it has ended
			n.Kill()
		}
	}
	f.st.do(func() {
		f.churning = false
		for _, c := range f.clients {
			if c.sock != nil {
				c.sock.close(byReset)
			}
			c.sock = nil
			c.die()
		}
		for _, o := range f.observers {
			o.leave()
		}
		for _, k := range f.wrecks {
			k.close(byReset)
		}
	})
	f.st.end()
	var errs []error
	for _, n := range f.nodes {
		if n.edge != nil {
			errs = append(errs, n.edge.Close())
		}
	}
	if f.redis != nil {
		errs = append(errs, f.redis.remove())
	}
	return errors.Join(errs...)
}

// logs returns the files of the nodes' output.
func (f *field) logs() []string {
	list, err := filepath.Glob(filepath.Join(f.o.Dir, "n*.log"))
	if err != nil {
		return nil
	}
	return list
}

// quietAddr returns a free address below the ports of outgoing connections:
// none of our clients takes it while its node is down.
func quietAddr() (addr string, err error) {
	for range 20 {
		addr = "127.0.0.1:" + strconv.Itoa(12000+rand.IntN(20000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}
