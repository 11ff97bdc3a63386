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
// Sentinels and Cluster are asked again every mapTurn, and at once when somebody
// finds the map wrong: a call answers MOVED, Redis ends a subscription, a link is
// lost. What was answered MOVED (ASK, TRYAGAIN) did not run; it waits here and is
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

// master is one Redis primary.
type master struct {
	// set once
	store   *Store
	name    string        // its address, the metrics' label
	control *redis.Client // for what does not go through the lane
	lanes   *redis.Client
	forFeed *redis.Client
	expired *redis.Client // for notices of expired keys
	lane    *lane
	stop    context.CancelFunc // ends its notices
	running sync.WaitGroup

	// atomic
	server atomic.Pointer[string]  // identity of the server that we know; nil: it was not looked at yet
	other  atomic.Bool             // a connection found another server, which was not looked at yet
	doubts atomic.Int64            // how often its past was in doubt
	clock  atomic.Pointer[reading] // nil before the first look

	// owned by the lease's loop
	seen   string // the server that was looked after last
	flying int64  // validUntil of leaves that were repeated and not answered

	// lease.mu protects
	answers condition
}

// reading is what a master's clock showed.
type reading struct {
	now       int64 // Redis ms
	sent, got int64 // the store's clock
}

// topology is which masters there are. It is never changed.
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
	m.now.Store(t)
	return added, nil
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
	now := m.now.Load()
	m.follow(now)
	for _, one := range old.all {
		if now.byName[one.name] == nil {
			m.store.log.Info("a master has gone; its slots are elsewhere", "master", one.name)
			one.retire()
		}
	}
	if len(added) > 0 {
		m.store.lease.hurry() // looks at them
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

// start runs what a master has of its own.
func (o *master) start() {
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	o.lane.start()
	n := notices{store: o.store, client: o.expired, ring: o.store.claimer.ring, lost: o.store.reaper.ring}
	o.running.Go(func() { n.run(ctx) })
}

// halt ends what start began. What waits in the lane is refused.
func (o *master) halt() {
	o.stop()
	o.lane.stop()
	o.running.Wait()
}

// retire ends a master that is none any more: what waits for it goes elsewhere.
// The feed lets go of it by itself. It blocks while calls are under way.
func (o *master) retire() {
	o.lane.leave()
	o.halt()
	for _, vec := range []interface{ DeleteLabelValues(...string) bool }{
		o.store.metrics.RedisUp, o.store.metrics.NotificationsEnabled, o.store.metrics.MaxmemoryPolicySafe,
	} {
		vec.DeleteLabelValues(o.name)
	}
	if err := o.close(); err != nil {
		o.store.log.Debug("closing connections to a former master", "master", o.name, "err", err)
	}
}

func (o *master) close() error {
	return errors.Join(o.lanes.Close(), o.forFeed.Close(), o.expired.Close(), o.control.Close())
}

// sameServer is the first thing on every connection of a lane: nothing is
// written to a server that was started anew, or is new in its place, before a
// beat has looked whether it still knows this node and its sessions. A join that
// slipped in before would be a member of which no session tells.
func (o *master) sameServer(ctx context.Context, conn *redis.Conn) error {
	text, err := conn.Info(ctx, "server", "replication").Result()
	if err != nil {
		return err
	}
	if !o.knows(identity(parseInfo(text))) {
		o.other.Store(true)
		o.store.lease.hurry()
		return errors.New("this Redis was started anew and is not known yet")
	}
	return nil
}

// whichServer is the first thing on every other connection: from here nobody is
// judged and nothing claimed until a beat has looked.
func (o *master) whichServer(ctx context.Context, conn *redis.Conn) error {
	text, err := conn.Info(ctx, "server", "replication").Result()
	if err == nil && o.server.Load() != nil && !o.knows(identity(parseInfo(text))) {
		o.other.Store(true)
	}
	return err
}

// identity names a run of a server, and the line of its writes.
func identity(info map[string]string) string { return info["run_id"] + " " + info["master_replid"] }

func (o *master) know(id string) {
	o.server.Store(&id)
	o.other.Store(false)
}

func (o *master) knows(id string) bool { known := o.server.Load(); return known != nil && *known == id }

// look is what a master said of itself.
type look struct {
	master *master
	id     string
	info   map[string]string
	err    error
}

// look asks the master what it is, and for the time. It blocks for a round trip.
func (o *master) look(ctx context.Context) look {
	sent := o.store.clock()
	pipe := o.control.Pipeline()
	clock := pipe.Time(ctx)
	text := pipe.Info(ctx, "server", "memory", "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return look{master: o, err: err}
	}
	o.clock.Store(&reading{now: clock.Val().UnixMilli(), sent: sent, got: o.store.clock()})
	info := parseInfo(text.Val())
	if role := info["role"]; role != "master" {
		return look{master: o, err: fmt.Errorf("it is a replica (%s)", role)}
	}
	return look{master: o, info: info, id: identity(info)}
}

// lower is an estimate of the master's clock, in ms, that is never too high. t
// is a time of the store's clock.
func (o *master) lower(t int64) int64 {
	if r := o.clock.Load(); r != nil {
		return r.now + (t-r.got)/int64(time.Millisecond)
	}
	return o.store.lease.grant.Load().lower(t)
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
