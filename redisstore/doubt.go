package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	presence "presencesets"
)

// Redis's past is in doubt. A server that was started anew, or that became the
// master, may not have what the one before it acknowledged: its last second, or
// all of it. It shows by its run_id or its replication id, which are looked at
// with each beat, and first of all on every connection of a lane: nothing is
// written to a server that is not known (master.sameServer).
//
//	beat: another id ──▶ scripts, schema, settings
//	                 ──▶ floor: from here no room's revision is one that was
//	                     told before with other members below it
//	                 ──▶ the leaves of the last 30 s, again: they may be lost
//	                 ──▶ the feed looks at every hosted room (feed.doubt), and
//	                     tells nobody's leave who is only missing in it
//	                 ──▶ beat; a new stamp where the registry is lost
//	                 ──▶ the edge reclaims all its connections (reclaim.go)
//	                 ──▶ the server is known: lanes may write
//	                 ──▶ the ends of connections of the last 30 s, again
//
// In this order: a join that came before the repeated leave of its connection
// would be ended by it, for both have the same incarnation; and a join into a
// room of which no session tells would never end.
//
// For a lease's time after it nobody is judged, and no grace is claimed: first
// every node beats, and restores what is its own.

const (
	// repeatLeaves is for how long a leave is remembered, at least: longer than
	// a failover takes to be noticed, and than a server's last unsynced write.
	repeatLeaves = 30 * time.Second
	// repeatMany bounds how many are remembered: twice that.
	repeatMany = 1 << 15
	// repeatChunk is how many calls of 16 leaves travel together.
	repeatChunk = 64
	// explains is for how long after a doubt a session that is missing was
	// lost by it: by then every connection was compared.
	explains = 2 * time.Minute
	// reclaimSpread is the time over which the nodes begin to reclaim.
	reclaimSpread = time.Second
)

// doubts knows when the past was in doubt, and since when all is well.
type doubts struct {
	// set once
	store *Store
	leave script

	// atomic
	count  atomic.Int64 // how often it was
	floor  atomic.Int64 // µs of Redis's clock: no room's revision is below it; 0: no need
	last   atomic.Int64 // Redis ms of the last one
	at     atomic.Int64 // the same on the store's clock
	steady atomic.Int64 // the store's clock since when no beat was missed
	beaten atomic.Int64 // when the last beat was answered

	// owned by the lease's loop
	epoch int64 // of the last Reclaim

	// mu protects
	mu     sync.Mutex
	leaves recent[leaveKey, lastLeave]
	ends   recent[presence.ConnID, lastEnd]
}

// recent remembers for repeatLeaves at least and twice that at most, in two
// generations, and no more than twice repeatMany.
type recent[K comparable, V any] struct {
	young, old map[K]V
	since      int64 // of the young ones
}

func (r *recent[K, V]) add(key K, value V, now int64) {
	if r.young == nil || len(r.young) >= repeatMany || now-r.since > int64(repeatLeaves) {
		r.old, r.young, r.since = r.young, make(map[K]V), now
	}
	r.young[key] = value
}

func (r *recent[K, V]) forget(key K) {
	delete(r.young, key)
	delete(r.old, key)
}

// all calls f for each, the older ones first.
func (r *recent[K, V]) all(f func(K, V)) {
	for _, generation := range []map[K]V{r.old, r.young} {
		for key, value := range generation {
			f(key, value)
		}
	}
}

// leaveKey is a connection's membership of a room.
type leaveKey struct {
	roomName
	conn presence.ConnID
}

// lastLeave is how it ended.
type lastLeave struct {
	inc    int64
	reason presence.Reason
}

// lastEnd is how a connection ended here, or was lost.
type lastEnd struct {
	app    string
	inc    int64
	reason presence.Reason
	grace  time.Duration // of one that was lost; 0: it was closed
}

func newDoubts(s *Store) *doubts {
	return &doubts{store: s, leave: newScript("leave")}
}

// left remembers a leave that was made.
func (d *doubts) left(op *presence.Op) {
	now := d.store.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaves.add(keyOf(op), lastLeave{op.Inc, op.Reason}, now)
}

// joining forgets the leave before a join that is about to be sent: to repeat
// it would end the new membership.
func (d *doubts) joining(op *presence.Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaves.forget(keyOf(op))
}

// ended remembers the end of a connection, or of its socket.
func (d *doubts) ended(conn presence.ConnID, e lastEnd) {
	now := d.store.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends.add(conn, e, now)
}

func keyOf(op *presence.Op) leaveKey { return leaveKey{roomName{op.App, op.Room}, op.Conn} }

// beat is told of each beat. One that came late is as one that was missed: this
// process may have been paused.
func (d *doubts) beat(ok bool) {
	now := d.store.clock()
	late := now-d.beaten.Load() > int64(2*d.store.opts.LeaseBeat+beatRetry)
	if !ok || late {
		d.steady.Store(now)
	}
	if ok {
		d.beaten.Store(now)
	}
}

// judge reports whether this node may call another one dead: it missed no beat
// for a whole lease, and Redis is as long the one that it was. By then whoever
// is alive had the time to beat.
func (s *Store) judge() bool {
	now := s.clock()
	return now-s.doubts.beaten.Load() <= int64(2*s.opts.LeaseBeat+beatRetry) &&
		now-s.doubts.steady.Load() >= int64(s.opts.LeaseTTL) && s.settled()
}

// mended reports whether this node and the others that are alive have written
// again all that Redis may have lost, as far as is known here.
func (s *Store) mended() bool {
	if s.reclaims.busy() {
		return false
	}
	if l := s.lineup.Load(); l != nil {
		for i := range l.others {
			if l.others[i].Reclaiming {
				return false
			}
		}
	}
	return true
}

// settled reports whether what Redis holds is what was acknowledged: it is as
// long as a lease since it was another one.
func (s *Store) settled() bool {
	for _, m := range s.masters.now.Load().all {
		if m.server.Load() == nil || m.other.Load() {
			return false
		}
	}
	at := s.doubts.at.Load()
	return at == 0 || s.clock()-at >= int64(s.opts.LeaseTTL)
}

// lost reports whether a session that began with inc may be missing because
// Redis lost it.
func (d *doubts) lost(inc int64) bool {
	at := d.at.Load()
	return at != 0 && d.store.clock()-at < int64(explains) && inc <= d.last.Load()
}

// past makes a server that is not the known one what that was, but for the
// connections. It blocks for some round trips. What it does not get done it
// does when it is called again.
func (d *doubts) past(ctx context.Context, seen look) error {
	m := seen.master
	if m.seen != seen.id {
		now, err := d.clock(ctx, m)
		if err != nil {
			return err
		}
		d.begin(m, seen.id, now)
	}
	if err := errors.Join(loadScripts(ctx, m.control), d.store.prepare(ctx, m, seen.info)); err != nil {
		return err
	}
	return d.repeat(ctx, m)
}

// clock is a master's clock, and no other's is ahead of it.
func (d *doubts) clock(ctx context.Context, m *master) (time.Time, error) {
	now, err := m.control.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock of %s: %w", m.name, err)
	}
	return now.Add(d.store.lease.skewTime()), nil
}

// begin notes that a master's past is in doubt at a moment of Redis's clock.
func (d *doubts) begin(m *master, id string, now time.Time) {
	cause := "failover" // of one that is new, too: it has the place of another
	run, _, _ := strings.Cut(id, " ")
	if known := m.server.Load(); known != nil && !strings.HasPrefix(*known, run+" ") {
		cause = "restart"
	}
	d.store.metrics.MasterChanges.WithLabelValues(cause).Inc()
	d.store.log.Warn("Redis may have lost what it acknowledged; comparing", "master", m.name, "reason", cause)
	m.seen = id
	d.since(now, m)
}

// emptied notes that Redis has forgotten this node, though it may be the one
// that it was: somebody flushed it. It blocks for some round trips.
func (d *doubts) emptied(ctx context.Context) error {
	t := d.store.masters.now.Load()
	if known := t.nodes.server.Load(); known == nil || t.nodes.seen != "" && t.nodes.seen != *known {
		return nil // it is another one, and was looked after
	}
	now, err := d.clock(ctx, t.nodes)
	if err != nil {
		return err
	}
	if err := d.store.checkSchema(ctx); err != nil {
		return err
	}
	d.store.log.Warn("Redis has forgotten all connections; comparing", "master", t.nodes.name)
	d.since(now, t.all...) // whoever emptied one has emptied all, as a rule
	return nil
}

// since notes that what some masters acknowledged before now may be lost.
func (d *doubts) since(now time.Time, of ...*master) {
	d.last.Store(max(d.last.Load(), now.UnixMilli()))
	d.at.Store(max(1, d.store.clock()))
	d.floor.Store(max(d.floor.Load(), now.UnixMicro()))
	for _, m := range of {
		m.doubts.Add(1)
	}
	d.count.Add(1) // last: who sees it sees the rest
	for _, m := range of {
		d.store.feed.doubt(m.name, presence.Revision(now.UnixMicro()))
	}
}

// repeat makes the last leaves on a master again. One that it holds finds no
// member.
func (d *doubts) repeat(ctx context.Context, m *master) error {
	if m.flying != 0 && !d.store.lease.dead(m.flying) {
		return errors.New("repeated leaves are still under way")
	}
	now, err := m.control.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("read the clock of %s: %w", m.name, err)
	}
	until := now.Add(opLife).UnixMilli()
	load := func(ctx context.Context) error { return loadScripts(ctx, m.control) }
	for calls := d.calls(m, until); len(calls) > 0; {
		n := min(len(calls), repeatChunk)
		m.flying = until
		for _, result := range callAll(ctx, m.control, load, d.leave, calls[:n]) {
			if err := result.Err(); err != nil && fateOf(err) != fateMoved { // its slot has come to another since
				return fmt.Errorf("repeat the last leaves: %w", err)
			}
		}
		calls = calls[n:]
	}
	m.flying = 0
	return nil
}

// calls are the calls that make the last leaves on a master again.
func (d *doubts) calls(m *master, until int64) []request {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, floor, most := d.store.keys, d.floor.Load(), runOps
	if d.store.masters.cluster != nil {
		most = 1 // all of a call must be in one slot
	}
	var calls []request
	d.leaves.all(func(key leaveKey, l lastLeave) {
		if d.store.masters.ofKey(k.members(key.app, key.room)) != m {
			return
		}
		if len(calls) == 0 || len(calls[len(calls)-1].keys) == most {
			calls = append(calls, request{args: []any{until, floor}})
		}
		c := &calls[len(calls)-1]
		c.keys = append(c.keys, k.members(key.app, key.room))
		c.args = append(c.args, k.feed(key.app, key.room), key.conn.String(), l.inc, string(l.reason), "")
	})
	return calls
}

// endAgain ends again what ended last: where that was lost, the session is live
// in this node's name, and no socket has it. Where it was not, there is nothing
// to end at that incarnation.
func (d *doubts) endAgain() {
	var all []*departure
	d.mu.Lock()
	d.ends.all(func(conn presence.ConnID, e lastEnd) {
		end := &departure{app: e.app, conn: conn, inc: e.inc, reason: e.reason, grace: e.grace, stage: stageClose, repeated: true}
		if e.grace > 0 {
			end.stage = stageDetach
		}
		all = append(all, end)
	})
	d.mu.Unlock()
	for _, end := range all {
		d.store.departures.begin(end) // unless it is under way
	}
}

// reclaim has the edge reclaim every connection. The nodes do not all begin at
// the same moment.
func (d *doubts) reclaim() {
	wait := time.Duration(0)
	if lineup := d.store.lineup.Load(); lineup != nil && len(lineup.others) > 0 {
		wait = rand.N(reclaimSpread)
	}
	d.store.reclaims.notBefore(wait)
	d.epoch++
	d.store.edge.Reclaim(d.epoch)
}
