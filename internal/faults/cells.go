package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
)

// cell is one fault.
type cell struct {
	name  string
	short bool // it is in the short form, too
	still bool // nobody does anything: an observer must be told nothing
	// observers and clients must keep their sockets
	keeps bool
	modes mode // of Redis, in which it makes sense
	// why the bounds move, and how far, where it is not for the usual reasons
	bound string
	run   func(context.Context, *field) error // makes the fault and repairs it
}

// hit says whom a fault affects, so that only their bounds move.
type hit struct {
	began, repaired time.Time
	redis           bool          // everybody, until it is repaired
	node            int           // those of one node; -1: of none
	lost            bool          // Redis has lost its data
	links           bool          // only links were hurt, of the node or (-1) of all: leases are held
	losesLast       bool          // Redis may have lost what it acknowledged last
	lapsed          bool          // the node has lost its lease, and still ends sessions
	halves          time.Duration // for how long a slot was in two halves, at most
}

// the node that faults of one node choose.
const victim = 1

const (
	// A failover moves the bounds by the time without a master, and one lease:
	// until every node had the time to beat and to restore what is its own,
	// nobody is judged and no grace is claimed.
	failoverBound = "from the fault until another master serves, and one lease in which nobody is judged and no grace is claimed"
	// What was under way when a link ended is repeated when it can no longer
	// arrive: 2 s.
	linkBound = "until the repair, and 2 s after which what was under way can no longer arrive and is repeated"
	// A node without a lease ends the session of who closes, and may not leave the
	// rooms: another node does when the claim of 5 s is over, a poll later.
	lapsedBound = "of who closes there by 6 s: another node makes the leaves when the claim of a node without a lease is over"
	// While the keys that a script needs are on two masters Redis refuses it. The
	// 2 s are those of linkBound: what was sent to the old master is repeated.
	slotBound = "by the time that a slot is in two halves, and 2 s after which what was under way can no longer arrive and is repeated"
)

var cells = []cell{
	{name: "no fault, churn", keeps: true, modes: every, run: func(ctx context.Context, f *field) error { return f.pass(ctx, 2*time.Second) }},
	{name: "node killed (SIGKILL)", short: true, modes: every, run: killNode},
	{name: "node stopped for 3 leases (SIGSTOP)", short: true, modes: every, run: stopNode},
	{name: "node cut off from Redis for 3 leases, silently", modes: every, run: cutNode},
	{name: "links of one node to Redis reset, 10 times", keeps: true, modes: every, run: resetLinks},
	{name: "half of all sockets reset, two observers' too", short: true, modes: every, run: resetSockets},
	{name: "half-open clients", modes: every, run: halfOpenClients},
	// With sentinels, and with less than everything in a Cluster, it is a failover.
	{name: "Redis killed, back with its data", short: true, keeps: true, modes: single | cluster, run: func(ctx context.Context, f *field) error { return restartRedis(ctx, f, false) }},
	{name: "Redis killed, back empty", keeps: true, modes: single | cluster, run: func(ctx context.Context, f *field) error { return restartRedis(ctx, f, true) }},
	{name: "Redis stopped for 1.5 leases (SIGSTOP)", keeps: true, modes: single, run: stopRedis},
	{name: "Redis out of memory", short: true, keeps: true, modes: every, run: fillRedis},
	{name: "scripts flushed, 10 times", keeps: true, modes: every, run: flushScripts},
	{name: "pub/sub links killed, 10 times", short: true, keeps: true, modes: every, run: killPubSub},
	{name: "feed link of one node silent", keeps: true, modes: every, run: holdFeed},
	{name: "notifications off", keeps: true, modes: every, run: notificationsOff},
	{name: "100,000 foreign keys with a TTL, 100 sessions end", short: true, keeps: true, modes: every, run: foreignKeys},
	{name: "master of the nodes' slot killed, a replica takes over", short: true, keeps: true, modes: sentinel | cluster, bound: failoverBound, run: killMaster(nodesKey)},
	{name: "another master killed, a replica takes over", keeps: true, modes: cluster, bound: failoverBound, run: killMaster(otherKey)},
	{name: "master and a node killed together, a replica takes over", modes: sentinel | cluster, bound: failoverBound, run: killMasterAndNode},
	{name: "failover by command, of the nodes' slot", short: true, keeps: true, modes: sentinel | cluster, bound: failoverBound, run: handOver(nodesKey)},
	{name: "failover by command, of another master", keeps: true, modes: cluster, bound: failoverBound, run: handOver(otherKey)},
	{name: "master of the nodes' slot stopped until replaced (SIGSTOP), then back", keeps: true, modes: sentinel | cluster, bound: failoverBound, run: stopMaster(nodesKey)},
	{name: "another master stopped until replaced (SIGSTOP), then back", keeps: true, modes: cluster, bound: failoverBound, run: stopMaster(otherKey)},
	{name: "master cut off from its replica and the sentinels, not from nodes", keeps: true, modes: sentinel, bound: failoverBound, run: isolateMaster},
	{name: "sentinels killed, back after 2 leases", keeps: true, modes: sentinel, run: killSentinels},
	{name: "slots with rooms moved to another master", short: true, keeps: true, modes: cluster, bound: slotBound, run: moveRooms},
	{name: "slots of connections moved to another master", short: true, keeps: true, modes: cluster, bound: slotBound, run: moveConnections},
	{name: "slot of the nodes moved to another master", keeps: true, modes: cluster, bound: slotBound, run: moveNodes},
	{name: "one node cut off from the master of the nodes' slot, silently", modes: cluster, bound: lapsedBound, run: cutNodesMaster},
	{name: "one node cut off from another master, silently", modes: cluster, bound: linkBound, run: cutOtherMaster},
	{name: "rolling restart of all nodes (SIGTERM)", short: true, still: true, modes: every, run: rollingRestart},
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
	f.strike(hit{node: victim})
	f.crash()
	f.repaired() // nobody waits for it
	if err := f.pass(ctx, f.times.bound(nodeLost)); err != nil {
		return err
	}
	return f.startNode(ctx, f.nodes[victim])
}

// crash kills the node; some of its clients do not come back.
func (f *field) crash() {
	f.st.do(func() {
		f.up[victim], f.crashed[victim] = false, true
		for i, c := range f.clients {
			if i%4 == 0 && c.phase == on && c.node == victim {
				c.goFor(nodeLost)
				f.replace()
			}
		}
	})
	f.nodes[victim].Kill()
}

func stopNode(ctx context.Context, f *field) error {
	return f.withoutNode(ctx, hit{node: victim}, func() error { return syscall.Kill(f.nodes[victim].PID(), syscall.SIGSTOP) },
		func() error { return syscall.Kill(f.nodes[victim].PID(), syscall.SIGCONT) })
}

func cutNode(ctx context.Context, f *field) error {
	return f.withoutNode(ctx, hit{node: victim}, func() error { return f.redis.cut([]int{f.nodes[victim].PID()}, f.redis.servers...) },
		func() error { f.redis.release(); return nil })
}

// withoutNode keeps a node from Redis for longer than its lease and the grace.
func (f *field) withoutNode(ctx context.Context, h hit, down, up func() error) error {
	n := f.nodes[victim]
	f.strike(h)
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
		if err := errors.Join(f.redis.reset(f.nodes[victim].PID()), f.pass(ctx, 150*time.Millisecond)); err != nil {
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
	if empty { // whoever is connected is written down again
		f.excuse(func(c *client) bool { return c.phase != on })
	}
	err := f.redis.restart(ctx, empty, func() error {
		f.depart(10)
		return f.pass(ctx, time.Second)
	})
	if err != nil {
		return err
	}
	f.repaired()
	return f.pass(ctx, 3*time.Second)
}

func stopRedis(ctx context.Context, f *field) error {
	f.strike(hit{redis: true, node: -1})
	if err := f.redis.one.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	f.depart(10)
	if err := f.pass(ctx, f.times.ttl*3/2); err != nil {
		return err
	}
	if err := f.redis.one.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	f.repaired()
	return f.pass(ctx, 3*time.Second)
}

func fillRedis(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	if err := f.redis.each(ctx, func(c *redis.Client) error { return redistest.FillMemory(ctx, c) }); err != nil {
		return err
	}
	f.depart(5)
	// Long enough for graces that began in it to end in it.
	if err := f.pass(ctx, f.times.bound(timeout)); err != nil {
		return err
	}
	f.repaired()
	return f.redis.each(ctx, func(c *redis.Client) error { return redistest.FreeMemory(ctx, c) })
}

func flushScripts(ctx context.Context, f *field) error {
	return f.tenTimes(ctx, hit{node: -1}, func(c *redis.Client) error { return redistest.ForgetScripts(ctx, c) })
}

func killPubSub(ctx context.Context, f *field) error {
	return f.tenTimes(ctx, hit{node: -1, links: true}, func(c *redis.Client) error { _, err := redistest.KillPubSub(ctx, c); return err })
}

func (f *field) tenTimes(ctx context.Context, h hit, do func(*redis.Client) error) error {
	f.strike(h)
	f.depart(10)
	for range 10 {
		if err := errors.Join(f.redis.each(ctx, do), f.pass(ctx, 150*time.Millisecond)); err != nil {
			return err
		}
	}
	f.repaired()
	return nil
}

func holdFeed(ctx context.Context, f *field) error {
	var list string
	err := f.redis.each(ctx, func(c *redis.Client) error {
		part, err := c.Do(ctx, "client", "list", "type", "pubsub").Text()
		list += part
		return err
	})
	if err != nil {
		return err
	}
	own, err := dialledBy(f.nodes[victim].PID())
	if err != nil {
		return err
	}
	f.strike(hit{node: victim, links: true})
	held := 0
	for _, w := range f.redis.wires {
		held += w.Hold(func(near, far string) bool {
			return far != "" && own(near, far) && strings.Contains(list, " addr="+far+" ")
		})
	}
	if held == 0 {
		return errors.New("no pub/sub link was found to hold")
	}
	f.depart(10)
	if err := f.pass(ctx, 2*f.times.ttl); err != nil {
		return err
	}
	f.redis.release()
	f.repaired()
	return nil
}

func notificationsOff(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	if err := f.redis.each(ctx, func(c *redis.Client) error { return redistest.Notifications(ctx, c, false) }); err != nil {
		return err
	}
	f.depart(5)
	if err := f.pass(ctx, f.times.bound(timeout)); err != nil {
		return err
	}
	f.repaired()
	return f.redis.each(ctx, func(c *redis.Client) error { return redistest.Notifications(ctx, c, true) })
}

func foreignKeys(ctx context.Context, f *field) error {
	const keys, sessions = 100_000, 100
	for i := 0; i < keys; {
		p := f.redis.keys.Pipeline()
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
		p := f.redis.keys.Pipeline()
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
