package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"presencesets/internal/redistest"
)

// Faults that only a Redis of several servers can have.

const nodesKey = "presence:{nodes}:registry"

// otherKey chooses a master that has not the slot of the nodes.
const otherKey = ""

// lossWindow is how long before a failover a write may be that the replica did
// not get, and how long after it one may go to the old master: a node looks
// twice a second who is the master.
const lossWindow = time.Second

func (f *field) roomKey(i int) string { return "presence:{" + app + ":" + f.room(i) + "}:members" }

// key returns one of the master that is meant, and that master.
func (f *field) key(ctx context.Context, which string) (string, *redistest.Server, error) {
	nodes, err := f.redis.master(ctx, nodesKey)
	if err != nil || which != otherKey {
		return nodesKey, nodes, err
	}
	for i := range f.rooms {
		m, err := f.redis.master(ctx, f.roomKey(i))
		if err != nil || m != nodes {
			return f.roomKey(i), m, err
		}
	}
	return "", nil, fmt.Errorf("one master has the nodes and all %d rooms", f.rooms)
}

// changed notes that a membership began, was left or was resumed, as the client
// knows: between from and at. What a failover may have lost of it the nodes
// restore, and observers may be told so; where no node held it then, it may end.
func (f *field) changed(s *seat, from, at time.Time) {
	s.changed = at
	if f.hit.losesLast && (f.hit.repaired.IsZero() || from.Before(f.hit.repaired.Add(lossWindow))) {
		f.mayFlap(s)
	}
}

// mayFlap excuses two leaves: by the list of the new master, which may be that
// of an earlier membership, and by the leave of that one, made once more.
func (f *field) mayFlap(s *seat) { s.flaps = max(s.flaps, 2) }

// replacing notes that a master is about to be replaced.
func (f *field) replacing(h hit) {
	h.redis = true
	f.strike(h)
	if !h.losesLast {
		return
	}
	f.st.do(func() {
		for _, c := range f.clients {
			for _, s := range c.seats {
				if s.changed.After(f.hit.began.Add(-lossWindow)) {
					f.mayFlap(s)
				}
			}
		}
	})
}

// replaced notes that another master serves.
func (f *field) replaced(next *redistest.Server) {
	f.repaired()
	f.st.do(func() {
		h := f.hit
		f.cell.remark = fmt.Sprintf("another master after %.1f s", h.repaired.Sub(h.began).Seconds())
		f.note("%s serves", next.Seen())
		if !h.losesLast {
			return
		}
		f.st.after(lossWindow, func() {
			for _, c := range f.clients {
				for _, s := range c.seats {
					// Its leave may have been told and lost.
					late := func(e end) bool {
						return e.cause.Add(f.times.bound(e.kind)).After(h.began.Add(-lossWindow)) && e.cause.Before(h.repaired.Add(lossWindow))
					}
					if slices.ContainsFunc(s.ends, late) {
						f.mayFlap(s)
					}
				}
			}
		})
	})
}

// killMaster has a master crash, and come back when another has its place. With
// sentinels it takes itself for the master then, until they tell it: ten seconds.
func killMaster(which string) func(context.Context, *field) error {
	return replaceMaster(which, func(m *redistest.Server) error { return m.End(syscall.SIGKILL) }, (*redistest.Server).Begin)
}

// stopMaster has a master sleep until it is replaced: when it goes on, it takes
// itself for the master, and what it finds on its links for its own to do.
func stopMaster(which string) func(context.Context, *field) error {
	return replaceMaster(which, func(m *redistest.Server) error { return m.Signal(syscall.SIGSTOP) },
		func(m *redistest.Server) error { return m.Signal(syscall.SIGCONT) })
}

func replaceMaster(which string, down, up func(*redistest.Server) error) func(context.Context, *field) error {
	return func(ctx context.Context, f *field) error {
		key, old, err := f.key(ctx, which)
		if err != nil {
			return err
		}
		f.replacing(hit{node: -1, losesLast: true})
		if err := down(old); err != nil {
			return err
		}
		f.depart(10)
		next, err := f.redis.awaitOther(ctx, key, old)
		if err != nil {
			return err
		}
		f.replaced(next)
		return errors.Join(up(old), f.pass(ctx, 3*time.Second))
	}
}

// killMasterAndNode loses what the master acknowledged last together with one who
// would restore it: only what is in Redis is certain then.
func killMasterAndNode(ctx context.Context, f *field) error {
	key, old, err := f.key(ctx, nodesKey)
	if err != nil {
		return err
	}
	f.replacing(hit{node: victim, losesLast: true})
	if err := old.End(syscall.SIGKILL); err != nil {
		return err
	}
	f.crash()
	next, err := f.redis.awaitOther(ctx, key, old)
	if err != nil {
		return err
	}
	f.replaced(next)
	if err := errors.Join(old.Begin(), f.pass(ctx, f.times.bound(nodeLost)+f.times.ttl)); err != nil {
		return err
	}
	return f.startNode(ctx, f.nodes[victim])
}

// handOver has a master replaced by command. In a Cluster nothing is lost. With
// sentinels the old master takes the writes of whoever asks it for ten seconds
// more, and they are.
func handOver(which string) func(context.Context, *field) error {
	return func(ctx context.Context, f *field) error {
		key, old, err := f.key(ctx, which)
		if err != nil {
			return err
		}
		f.replacing(hit{node: -1, losesLast: f.redis.cluster == nil})
		f.depart(10)
		next, err := f.redis.handOver(ctx, key)
		if err != nil {
			return err
		}
		f.replaced(next)
		f.st.do(func() { f.note("in the place of %s", old.Seen()) })
		return f.pass(ctx, 3*time.Second)
	}
}

// isolateMaster is a split brain: nodes reach two masters, and only what the
// sentinels say tells them apart.
func isolateMaster(ctx context.Context, f *field) error {
	key, old, err := f.key(ctx, nodesKey)
	if err != nil {
		return err
	}
	f.replacing(hit{node: -1, losesLast: true})
	others := slices.DeleteFunc(slices.Clone(f.redis.servers), func(s *redistest.Server) bool { return s == old })
	pids := make([]int, 0, 4)
	for _, s := range append(others, f.redis.sentinel.Sentinels[:]...) {
		pids = append(pids, s.PID())
	}
	if err := f.redis.cut(pids, old); err != nil {
		return err
	}
	f.depart(10)
	next, err := f.redis.awaitOther(ctx, key, old)
	if err != nil {
		return err
	}
	f.replaced(next)
	if err := f.pass(ctx, f.times.ttl); err != nil {
		return err
	}
	f.redis.release()
	return f.pass(ctx, f.times.ttl)
}

// killSentinels leaves nobody who says where the master is. As long as it is
// where it was, nobody needs to know.
func killSentinels(ctx context.Context, f *field) error {
	f.strike(hit{node: -1})
	for _, s := range f.redis.sentinel.Sentinels {
		if err := s.End(syscall.SIGKILL); err != nil {
			return err
		}
	}
	f.depart(10)
	if err := f.pass(ctx, 2*f.times.ttl); err != nil {
		return err
	}
	for _, s := range f.redis.sentinel.Sentinels {
		if err := s.Begin(); err != nil {
			return err
		}
	}
	f.repaired()
	return f.pass(ctx, time.Second)
}

func moveRooms(ctx context.Context, f *field) error {
	var keys []string
	for i := range min(f.rooms, 50) {
		keys = append(keys, f.roomKey(i))
	}
	return f.move(ctx, keys, 0)
}

// moveConnections moves shards of connections, whose keys have to be together
// for most scripts, and leaves each of them in two halves for a while.
func moveConnections(ctx context.Context, f *field) error {
	var keys []string
	f.some(60, anyone, func(c *client) {
		if key := "presence:{c" + c.id[len(app)+1:][:2] + "}:due"; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	})
	if len(keys) == 0 {
		return errors.New("nobody is connected")
	}
	return f.move(ctx, keys, 100*time.Millisecond)
}

func moveNodes(ctx context.Context, f *field) error {
	return f.move(ctx, []string{nodesKey}, 100*time.Millisecond)
}

// move gives the slots of those keys that one master has to another, and back.
func (f *field) move(ctx context.Context, keys []string, pause time.Duration) error {
	c := f.redis.cluster
	from, err := c.Master(ctx, keys[0])
	if err != nil {
		return err
	}
	masters, err := c.Masters(ctx)
	if err != nil {
		return err
	}
	to := masters[(slices.Index(masters, from)+1)%len(masters)]
	var own []string
	for _, key := range keys {
		if m, err := c.Master(ctx, key); err != nil {
			return err
		} else if m == from {
			own = append(own, key)
		}
	}
	f.strike(hit{node: -1})
	f.depart(10)
	for _, there := range []*redistest.Server{to, from} {
		moved := 0
		for _, key := range own {
			began := time.Now()
			n, err := c.Move(ctx, key, there, pause)
			if err != nil {
				return err
			}
			moved += n
			f.st.do(func() { f.hit.halves = max(f.hit.halves, time.Since(began)) })
		}
		f.st.do(func() {
			f.cell.remark = fmt.Sprintf("%d slots with %d keys", len(own), moved)
			f.note("%s are at %s", f.cell.remark, there.Seen())
		})
		f.depart(20)
		if err := f.pass(ctx, time.Second); err != nil {
			return err
		}
	}
	f.repaired()
	return nil
}

// cutNodesMaster keeps a node from the nodes' slot only: it cannot beat, and is
// given up; what it still reaches it must not write.
func cutNodesMaster(ctx context.Context, f *field) error {
	_, m, err := f.key(ctx, nodesKey)
	if err != nil {
		return err
	}
	return f.withoutNode(ctx, hit{node: victim, lapsed: true}, func() error { return f.redis.cut([]int{f.nodes[victim].PID()}, m) },
		func() error { f.redis.release(); return nil })
}

// cutOtherMaster keeps a node from the rooms and connections of one master. It
// beats, so nobody gives it up; what it owes there it owes until the repair.
func cutOtherMaster(ctx context.Context, f *field) error {
	_, m, err := f.key(ctx, otherKey)
	if err != nil {
		return err
	}
	f.strike(hit{node: victim, links: true})
	if err := f.redis.cut([]int{f.nodes[victim].PID()}, m); err != nil {
		return err
	}
	f.depart(10)
	if err := f.pass(ctx, 3*f.times.ttl); err != nil {
		return err
	}
	f.redis.release()
	f.repaired()
	return nil
}
