package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// The masters. All that one operation needs is in one slot (the braces in the
// keys), so it goes to one of them:
//
//	single     one server
//	Sentinel   one at a time, as the sentinels say
//	Cluster    those that have slots; go-redis keeps the map of the slots
//
//	room operation ──▶ slot of {app:room} ──┐
//	session operation ─▶ slot of {c3f} ─────┴─▶ master ─▶ its lane
//	lease, registry ──▶ slot of {nodes} ────▶ through go-redis's own routing
//
// Sentinels and Cluster are asked again every mapTurn, and at once when a sentinel
// says so or somebody finds the map wrong: a call answers MOVED, Redis ends a
// subscription, a link is lost. What was answered MOVED (ASK, TRYAGAIN) did not run; it waits here and is
// sent to the master that the next map names.
//
// That sentinels are asked so often has a reason: a master that was replaced
// takes itself for one for some 10 s more, with all its connections in order, and
// what is written there is lost.
//
// A master that comes into the map, a replica that took a place say, is not
// known: nothing is written to it before a beat has looked what its past is
// (doubt.go). One that goes out of it takes nothing with it: what waited for it
// goes where the slots are now.

const (
	// mapTurn is how often it is looked which masters there are.
	mapTurn = 500 * time.Millisecond
	// mapPause is how often the map is read while it is known to be wrong.
	mapPause = 100 * time.Millisecond
	// mapTime bounds one reading.
	mapTime = time.Second
)

// topology is which masters there are. It is never changed; one that differs in
// nothing does not take its place.
type topology struct {
	all    []*master // ordered by name
	byName map[string]*master
	shards [shards]*master // that have the shards of connections
	nodes  *master         // that has what is about nodes
}

// masters keeps the topology.
type masters struct {
	// set once
	store     *Store
	single    *redis.Options       // where there is one for ever
	sentinels *sentinels           // who name it; or
	cluster   *redis.ClusterClient // which knows them
	soon      chan struct{}

	now atomic.Pointer[topology]

	// mu protects
	mu     sync.Mutex
	parked []task // were answered MOVED
	ended  bool
}

func newMasters(s *Store) *masters { return &masters{store: s, soon: make(chan struct{}, 1)} }

// control is the client for all that does not go through a lane. In a Cluster it
// finds the master of a key by itself.
func (s *Store) control() redis.UniversalClient {
	if c := s.masters.cluster; c != nil {
		return c
	}
	return s.masters.now.Load().nodes.control
}

// add makes the master that opts lead to.
func (m *masters) add(opts *redis.Options) *master {
	s := m.store
	one := &master{
		store: s, name: opts.Addr,
		forFeed: newClient(opts, s.opts.NodeID, "", 36), // its link is presence-<node>-feed
		expired: newClient(opts, s.opts.NodeID, "expired", 1),
	}
	looking, lanes := *opts, *opts
	looking.OnConnect, lanes.OnConnect = one.whichServer, one.sameServer
	one.control = newClient(&looking, s.opts.NodeID, "control", 4)
	one.lanes = newClient(&lanes, s.opts.NodeID, "lane", laneWriters)
	one.lane = newLane(s, one)
	return one
}

// read finds out which masters there are. It blocks for a round trip, and
// returns those that are new.
func (m *masters) read(ctx context.Context) (added []*master, err error) {
	if m.cluster != nil {
		return m.readSlots(ctx)
	}
	opts := m.single
	if m.sentinels != nil {
		if opts, err = m.sentinels.master(ctx); err != nil {
			return nil, err
		}
	}
	if old := m.now.Load(); old != nil && old.nodes.name == opts.Addr {
		return nil, nil
	}
	one := m.add(opts)
	t := &topology{all: []*master{one}, byName: map[string]*master{one.name: one}, nodes: one}
	for i := range t.shards {
		t.shards[i] = one
	}
	m.now.Store(t)
	return t.all, nil
}

// readSlots is read for a Cluster.
func (m *masters) readSlots(ctx context.Context) (added []*master, err error) {
	var mu sync.Mutex
	found := make(map[string]*redis.Options)
	err = m.cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		found[c.Options().Addr] = c.Options()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the map of the Cluster's slots: %w", err)
	}
	old := m.now.Load()
	t := &topology{byName: make(map[string]*master, len(found))}
	for name, opts := range found {
		if old != nil && old.byName[name] != nil {
			t.byName[name] = old.byName[name]
		} else {
			t.byName[name] = m.add(opts)
			added = append(added, t.byName[name])
		}
		t.all = append(t.all, t.byName[name])
	}
	slices.SortFunc(t.all, func(a, b *master) int { return strings.Compare(a.name, b.name) })
	k := m.store.keys
	for i := range t.shards {
		if t.shards[i], err = m.serves(ctx, t, k.due(i)); err != nil {
			break
		}
	}
	if err == nil {
		t.nodes, err = m.serves(ctx, t, k.registry())
	}
	if err != nil {
		for _, one := range added {
			err = errors.Join(err, one.close())
		}
		return nil, err
	}
	if !t.same(old) {
		m.now.Store(t)
	}
	return added, nil
}

// same reports whether two topologies differ in nothing. Which master has the
// slot of a room is not in them: it is looked up each time, and where a channel is
// when Redis ends it.
func (t *topology) same(old *topology) bool {
	return old != nil && slices.Equal(t.all, old.all) && t.shards == old.shards && t.nodes == old.nodes
}

// serves is the master of a key.
func (m *masters) serves(ctx context.Context, t *topology, key string) (*master, error) {
	c, err := m.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("find the master of %s: %w", key, err)
	}
	if one := t.byName[c.Options().Addr]; one != nil {
		return one, nil
	}
	return nil, fmt.Errorf("find the master of %s: none of the Cluster's masters has its slot", key)
}

// of is the master that an operation goes to, as far as is known: where it is
// another one it will say so.
func (m *masters) of(op *presence.Op) *master {
	t := m.now.Load()
	switch {
	case m.cluster == nil:
		return t.nodes
	case !onRoom(op.Kind):
		return t.shards[op.Conn.Shard()]
	}
	return m.ofKey(m.store.keys.members(op.App, op.Room))
}

// ofKey is the master of a key or channel, as far as is known.
func (m *masters) ofKey(key string) *master {
	t := m.now.Load()
	if m.cluster == nil {
		return t.nodes
	}
	one, err := m.serves(context.Background(), t, key) // asks nobody: the map is there
	if err != nil {
		m.hurry()
		return t.nodes
	}
	return one
}

// onRoom reports whether an operation works on a room's keys; the others do on
// a connection's.
func onRoom(kind presence.OpKind) bool {
	switch kind {
	case presence.OpMembers, presence.OpCount, presence.OpPublish, presence.OpJoin, presence.OpUpdate, presence.OpLeave,
		opMark, opAdopt, opAssert, opMember:
		return true
	}
	return false
}

// hurry asks for the map to be read. It never blocks.
func (m *masters) hurry() {
	select {
	case m.soon <- struct{}{}:
	default:
	}
}

// run keeps the topology true until ctx ends.
func (m *masters) run(ctx context.Context) {
	if m.single != nil {
		return
	}
	if m.sentinels != nil {
		m.sentinels.listen(ctx, &m.store.running, m.hurry)
	}
	wait := mapTurn
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.soon:
		case <-time.After(wait):
		}
		m.turn(ctx)
		wait = mapTurn
		if m.wrong() {
			wait = mapPause
		}
		select { // those who ask at the same time get one answer
		case <-ctx.Done():
			return
		case <-time.After(mapPause / 4):
		}
	}
}

// wrong reports whether the map is known to be wrong, or may soon be.
func (m *masters) wrong() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.parked) > 0 {
		return true
	}
	for _, one := range m.now.Load().all {
		if one.server.Load() == nil {
			return true
		}
	}
	return false
}

// turn reads the map once, and has everybody follow it.
func (m *masters) turn(ctx context.Context) {
	old := m.now.Load()
	reading, cancel := context.WithTimeout(ctx, mapTime)
	added, err := m.read(reading)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			m.store.log.Debug("could not find out which masters there are", "err", err)
		}
		m.unpark()
		return
	}
	for _, one := range added {
		m.store.log.Info("a master has come", "master", one.name)
		one.start()
	}
	if now := m.now.Load(); now != old {
		m.follow(now)
		for _, one := range old.all {
			if now.byName[one.name] == nil {
				m.store.log.Info("a master has gone; its slots are elsewhere", "master", one.name)
				m.store.running.Go(one.retire) // which waits for what is under way there
			}
		}
		m.store.lease.hurry() // looks at those that are new
	}
	m.unpark()
}

// follow tells those who go by the topology.
func (m *masters) follow(t *topology) {
	m.store.metrics.LaneLimit.Set(float64(laneLimit * len(t.all)))
	if m.single != nil {
		return
	}
	list := make([]source, len(t.all))
	for i, one := range t.all {
		list[i] = source{one.name, one.forFeed}
	}
	route := func(channel string) string { return m.ofKey(channel).name }
	if m.cluster == nil {
		route = nil
	}
	m.store.feed.setMasters(list, route)
}

// park keeps a task that was answered MOVED, until the map was read again.
func (m *masters) park(t task) {
	t.parked = true
	m.mu.Lock()
	ended := m.ended
	if !ended {
		m.parked = append(m.parked, t)
	}
	m.mu.Unlock()
	if ended {
		m.store.lane(t.op).refuse(t, errShutdown())
		return
	}
	m.hurry()
}

// unpark sends what was parked, to where its slot is now.
func (m *masters) unpark() {
	m.mu.Lock()
	list := m.parked
	m.parked = nil
	m.mu.Unlock()
	for _, t := range list {
		l := m.store.lane(t.op)
		if t.read == nil {
			if !l.push(t) {
				l.refuse(t, errShutdown())
			}
			continue
		}
		for _, op := range t.read.ops { // its lane shares it with others
			if err := l.submit(op); err != nil {
				op.Err = err
				op.Done.OpDone(op)
			}
		}
	}
}

// end refuses what is parked, and what will be.
func (m *masters) end() {
	m.mu.Lock()
	m.ended = true
	list := m.parked
	m.parked = nil
	m.mu.Unlock()
	for _, t := range list {
		m.store.lane(t.op).refuse(t, errShutdown())
	}
}

// load makes every master know the scripts. It blocks for a round trip.
func (m *masters) load(ctx context.Context) error {
	all := m.now.Load().all
	errs := make([]error, len(all))
	var loading sync.WaitGroup
	for i, one := range all {
		loading.Go(func() { errs[i] = loadScripts(ctx, one.control) })
	}
	loading.Wait()
	return errors.Join(errs...)
}

// spread is how far the clocks of the masters are apart, at least.
func (t *topology) spread() time.Duration {
	// Each offset to our clock is known to lie between two bounds.
	var low, high int64
	first := true
	for _, o := range t.all {
		r := o.clock.Load()
		if r == nil {
			continue
		}
		from, to := r.now-r.got/int64(time.Millisecond)-1, r.now-r.sent/int64(time.Millisecond)+1
		if first {
			low, high, first = from, to, false
			continue
		}
		low, high = max(low, from), min(high, to)
	}
	return max(0, time.Duration(low-high)*time.Millisecond)
}
