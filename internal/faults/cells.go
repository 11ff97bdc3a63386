package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"presencesets/internal/redistest"
)

// cell is one fault.
type cell struct {
	name  string
	short bool // it is in the short form, too
	still bool // nobody does anything: an observer must be told nothing
	// observers and clients must keep their sockets
	keeps bool
	run   func(context.Context, *field) error // makes the fault and repairs it
}

// hit says whom a fault affects, so that only their bounds move.
type hit struct {
	began, repaired time.Time
	redis           bool // everybody, until it is repaired
	node            int  // those of one node; -1: of none
	lost            bool // Redis has lost its data
	links           bool // only links were hurt, of the node or (-1) of all: leases are held
}

// the node that faults of one node choose.
const victim = 1

var cells = []cell{
	{name: "no fault, churn", keeps: true, run: func(ctx context.Context, f *field) error { return f.pass(ctx, 2*time.Second) }},
	{name: "node killed (SIGKILL)", short: true, run: killNode},
	{name: "node stopped for 3 leases (SIGSTOP)", short: true, run: stopNode},
	{name: "node cut off from Redis for 3 leases, silently", run: cutNode},
	{name: "links of one node to Redis reset, 10 times", keeps: true, run: resetLinks},
	{name: "half of all sockets reset, two observers' too", short: true, run: resetSockets},
	{name: "half-open clients", run: halfOpenClients},
	{name: "Redis killed, back with its data", short: true, keeps: true, run: func(ctx context.Context, f *field) error { return restartRedis(ctx, f, false) }},
	{name: "Redis killed, back empty", keeps: true, run: func(ctx context.Context, f *field) error { return restartRedis(ctx, f, true) }},
	{name: "Redis stopped for 1.5 leases (SIGSTOP)", keeps: true, run: stopRedis},
	{name: "Redis out of memory", short: true, keeps: true, run: fillRedis},
	{name: "scripts flushed, 10 times", keeps: true, run: flushScripts},
	{name: "pub/sub links killed, 10 times", short: true, keeps: true, run: killPubSub},
	{name: "feed link of one node silent", keeps: true, run: holdFeed},
	{name: "notifications off", keeps: true, run: notificationsOff},
	{name: "100,000 foreign keys with a TTL, 100 sessions end", short: true, keeps: true, run: foreignKeys},
	{name: "rolling restart of all nodes (SIGTERM)", short: true, still: true, run: rollingRestart},
}

// pass lets time pass: churn and faults are about time.
func (f *field) pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// strike notes that the fault begins, and what it may do to whom.
func (f *field) strike(h hit) {
	f.st.do(func() {
		h.began = time.Now()
		f.hit = h
		f.note("the fault begins: %+v", h)
	})
}

// excuse lets memberships end and begin again without the client's doing.
func (f *field) excuse(whom func(*client) bool) {
	f.st.do(func() {
		for _, c := range f.clients {
			if whom(c) {
				for _, s := range c.seats {
					s.flaps++
				}
			}
		}
	})
}

func (f *field) repaired() {
	f.st.do(func() {
		f.hit.repaired = time.Now()
		f.note("repaired")
	})
}

// some picks connected clients and does something to each.
func (f *field) some(n int, which func(*client) bool, do func(*client)) (done int) {
	f.st.do(func() {
		for _, i := range rand.Perm(len(f.clients)) {
			if c := f.clients[i]; done < n && c.phase == on && which(c) {
				do(c)
				done++
			}
		}
	})
	return done
}

func onNode(i int) func(*client) bool { return func(c *client) bool { return c.node == i } }
func anyone(*client) bool             { return true }

// depart has a share of the clients go for good, by close frames and without.
func (f *field) depart(share int) {
	f.some(f.o.Clients/share, anyone, func(c *client) {
		if rand.IntN(3) == 0 {
			c.goFor(closed)
		} else {
			c.goFor(timeout)
		}
		f.replace()
	})
}

func killNode(ctx context.Context, f *field) error {
	n := f.nodes[victim]
	f.strike(hit{node: victim})
	f.st.do(func() {
		f.up[victim], f.crashed[victim] = false, true
		for i, c := range f.clients { // some do not come back
			if i%4 == 0 && c.phase == on && c.node == victim {
				c.goFor(nodeLost)
				f.replace()
			}
		}
	})
	n.Kill()
	f.repaired() // nobody waits for it
	if err := f.pass(ctx, f.times.bound(nodeLost)); err != nil {
		return err
	}
	return f.startNode(ctx, n)
}

func stopNode(ctx context.Context, f *field) error {
	return f.withoutNode(ctx, func() error { return syscall.Kill(f.nodes[victim].PID(), syscall.SIGSTOP) },
		func() error { return syscall.Kill(f.nodes[victim].PID(), syscall.SIGCONT) })
}

func cutNode(ctx context.Context, f *field) error {
	wire := f.nodes[victim].wire
	return f.withoutNode(ctx, func() error { wire.Hold(nil); return nil }, func() error { wire.Release(); return nil })
}

// withoutNode keeps a node from Redis for longer than its lease and the grace.
func (f *field) withoutNode(ctx context.Context, down, up func() error) error {
	n := f.nodes[victim]
	f.strike(hit{node: victim})
	if err := down(); err != nil {
		return err
	}
	f.st.do(func() { f.up[victim] = false })
	// Who stays connected to it is gone for all others when the grace ends.
	f.excuse(onNode(victim))
	f.depart(10)
	if err := f.pass(ctx, max(3*f.times.ttl, f.times.grace+f.times.ttl)); err != nil {
		return err
	}
	if err := up(); err != nil {
		return err
	}
	f.repaired()
	if err := n.Await(ctx, func() bool { return n.ready() == 200 }); err != nil {
		return fmt.Errorf("it does not get ready again: %w", err)
	}
	f.st.do(func() { f.up[victim] = true })
	return nil
}

func resetLinks(ctx context.Context, f *field) error {
	f.strike(hit{node: victim, links: true})
	for range 10 {
		f.nodes[victim].wire.Reset(nil)
		if err := f.pass(ctx, 150*time.Millisecond); err != nil {
			return err
		}
	}
	f.repaired()
	return nil
}

func resetSockets(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	n := f.some(f.o.Clients/2, anyone, func(c *client) { c.drop(byReset, time.Second+rand.N(time.Second)) })
	f.st.do(func() {
		f.note("%d sockets reset", n)
		for _, o := range f.observers {
			if o.sock != nil && o.node != victim { // that one goes on looking at the clock
				o.sock.abort()
			}
		}
	})
	f.repaired()
	return f.pass(ctx, 3*time.Second)
}

func halfOpenClients(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	frail := func(c *client) bool { return c.frail }
	var ends []string
	f.some(len(f.clients), frail, func(c *client) { ends = append(ends, c.sock.conn.LocalAddr().String()) })
	silent := strings.Join(ends, " ") + " "
	held := 0
	for _, n := range f.nodes {
		held += n.edge.Hold(func(near, _ string) bool { return strings.Contains(silent, near+" ") })
	}
	i := 0
	f.some(len(f.clients), func(c *client) bool {
		return c.frail && strings.Contains(silent, c.sock.conn.LocalAddr().String()+" ")
	}, func(c *client) {
		if i++; i%2 == 0 {
			c.goFor(halfOpen)
			f.replace()
			return
		}
		// It notices and comes back while its old socket hangs.
		c.sock.quiet = true
		f.wrecks = append(f.wrecks, c.sock)
		c.sock, c.phase, c.lost, c.attempt, c.frail = nil, away, time.Now(), 0, false
		f.st.after(time.Second+rand.N(time.Second), c.connect)
	})
	f.st.do(func() { f.note("%d half-open, %d of them for good", held, i/2) })
	if err := f.pass(ctx, f.times.bound(halfOpen)); err != nil {
		return err
	}
	for _, n := range f.nodes {
		n.edge.Release()
	}
	f.repaired()
	return nil
}

func restartRedis(ctx context.Context, f *field, empty bool) error {
	f.strike(hit{redis: true, node: -1, lost: empty})
	if err := f.redis.End(syscall.SIGKILL); err != nil {
		return err
	}
	if empty {
		f.excuse(anyone)
		if err := f.redis.Wipe(); err != nil {
			return err
		}
	}
	f.depart(10)
	if err := f.pass(ctx, time.Second); err != nil {
		return err
	}
	if err := f.redis.Begin(); err != nil {
		return err
	}
	f.repaired()
	return f.pass(ctx, 3*time.Second)
}

func stopRedis(ctx context.Context, f *field) error {
	f.strike(hit{redis: true, node: -1})
	if err := f.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	f.depart(10)
	if err := f.pass(ctx, f.times.ttl*3/2); err != nil {
		return err
	}
	if err := f.redis.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	f.repaired()
	return f.pass(ctx, 3*time.Second)
}

func fillRedis(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	if err := redistest.FillMemory(ctx, f.keys); err != nil {
		return err
	}
	f.depart(5)
	// Long enough for graces that began in it to end in it.
	if err := f.pass(ctx, f.times.bound(timeout)); err != nil {
		return err
	}
	f.repaired()
	return redistest.FreeMemory(ctx, f.keys)
}

func flushScripts(ctx context.Context, f *field) error {
	return f.tenTimes(ctx, hit{node: -1}, func() error { return redistest.ForgetScripts(ctx, f.keys) })
}

func killPubSub(ctx context.Context, f *field) error {
	return f.tenTimes(ctx, hit{node: -1, links: true}, func() error { _, err := redistest.KillPubSub(ctx, f.keys); return err })
}

func (f *field) tenTimes(ctx context.Context, h hit, do func() error) error {
	f.strike(h)
	f.depart(10)
	for range 10 {
		if err := errors.Join(do(), f.pass(ctx, 150*time.Millisecond)); err != nil {
			return err
		}
	}
	f.repaired()
	return nil
}

func holdFeed(ctx context.Context, f *field) error {
	list, err := f.keys.Do(ctx, "client", "list", "type", "pubsub").Text()
	if err != nil {
		return err
	}
	f.strike(hit{node: victim, links: true})
	held := f.nodes[victim].wire.Hold(func(_, far string) bool { return far != "" && strings.Contains(list, " addr="+far+" ") })
	if held == 0 {
		return errors.New("no pub/sub link was found to hold")
	}
	f.depart(10)
	if err := f.pass(ctx, 2*f.times.ttl); err != nil {
		return err
	}
	f.nodes[victim].wire.Release()
	f.repaired()
	return nil
}

func notificationsOff(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	if err := redistest.Notifications(ctx, f.keys, false); err != nil {
		return err
	}
	f.depart(5)
	if err := f.pass(ctx, f.times.bound(timeout)); err != nil {
		return err
	}
	f.repaired()
	return redistest.Notifications(ctx, f.keys, true)
}

func foreignKeys(ctx context.Context, f *field) error {
	const keys, sessions = 100_000, 100
	for i := 0; i < keys; {
		p := f.keys.Pipeline()
		for range 1000 {
			p.Set(ctx, fmt.Sprintf("cache:%d", i), "x", time.Hour)
			i++
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	f.strike(hit{node: -1})
	n := f.some(min(sessions, f.o.Clients/2), anyone, func(c *client) { c.goFor(timeout) })
	f.st.do(func() {
		f.note("%d sessions lost", n)
		for range n {
			f.replace()
		}
	})
	if err := f.pass(ctx, f.times.bound(timeout)); err != nil {
		return err
	}
	f.repaired()
	for i := 0; i < keys; {
		p := f.keys.Pipeline()
		for range 1000 {
			p.Del(ctx, fmt.Sprintf("cache:%d", i))
			i++
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func rollingRestart(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	for i, n := range f.nodes {
		f.st.do(func() { f.up[i] = false })
		n.Terminate(2 * time.Minute)
		if err := f.startNode(ctx, n); err != nil {
			return err
		}
		back := func() error { return errors.Join(f.allSettled(), f.observersReady()) }
		if err := f.until(ctx, time.Minute, "everybody is back", back); err != nil {
			return err
		}
	}
	f.repaired()
	return nil
}
