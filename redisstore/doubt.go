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

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// Redis's past is in doubt. A server that was started anew, or that became the
// master, may not have what the one before it acknowledged: its last second, or
// all of it. It shows by its run_id or its replication id, which are looked at
// with each beat, and first of all on every connection of a lane: nothing is
// written to a server that is not known (lease.sameServer).
//
//	beat: another id ──▶ scripts, schema, settings
//	                 ──▶ floor: from here no room's revision is one that was
//	                     told before with other members below it
//	                 ──▶ the leaves of the last 30 s, again: they may be lost
//	                 ──▶ the feed looks at every hosted room (feed.doubt)
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
	store  *Store
	client *redis.Client
	leave  script

	// atomic
	count  atomic.Int64 // how often it was
	floor  atomic.Int64 // µs of Redis's clock: no room's revision is below it; 0: no need
	last   atomic.Int64 // Redis ms of the last one
	at     atomic.Int64 // the same on the store's clock
	steady atomic.Int64 // the store's clock since when no beat was missed
	beaten atomic.Int64 // when the last beat was answered

	// owned by the lease's loop
	seen   string // the server that was looked after last
	flying int64  // validUntil of leaves that were repeated and not answered
	epoch  int64  // of the last Reclaim

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
	return &doubts{store: s, client: s.control, leave: newScript("leave")}
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

// settled reports whether what Redis holds is what was acknowledged: it is as
// long as a lease since it was another one.
func (s *Store) settled() bool {
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
func (d *doubts) past(ctx context.Context, id string, info map[string]string) error {
	if d.seen != id {
		now, err := d.client.Time(ctx).Result()
		if err != nil {
			return fmt.Errorf("read Redis's clock: %w", err)
		}
		d.begin(id, now.Add(d.store.opts.ClockSkew))
	}
	if err := errors.Join(loadScripts(ctx, d.client), d.store.prepare(ctx, info)); err != nil {
		return err
	}
	return d.repeat(ctx)
}

// begin notes that the past is in doubt at a moment of Redis's clock.
func (d *doubts) begin(id string, now time.Time) {
	known := d.store.lease.server.Load()
	cause := "failover"
	if run, _, _ := strings.Cut(id, " "); !strings.HasPrefix(*known, run+" ") {
		cause = "restart"
	}
	d.store.metrics.MasterChanges.WithLabelValues(cause).Inc()
	d.store.log.Warn("Redis may have lost what it acknowledged; comparing", "master", d.store.master, "reason", cause)
	d.seen = id
	d.since(now)
}

// emptied notes that Redis has forgotten this node, though it may be the one
// that it was: somebody flushed it. It blocks for some round trips.
func (d *doubts) emptied(ctx context.Context) error {
	if known := d.store.lease.server.Load(); d.seen != "" && d.seen != *known {
		return nil // it is another one, and was looked after
	}
	now, err := d.client.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("read Redis's clock: %w", err)
	}
	if err := d.store.checkSchema(ctx); err != nil {
		return err
	}
	d.store.log.Warn("Redis has forgotten all connections; comparing", "master", d.store.master)
	d.since(now.Add(d.store.opts.ClockSkew))
	return nil
}

// since notes that what was acknowledged before now may be lost.
func (d *doubts) since(now time.Time) {
	d.last.Store(now.UnixMilli())
	d.at.Store(max(1, d.store.clock()))
	d.floor.Store(now.UnixMicro())
	d.count.Add(1) // last: who sees it sees the rest
	d.store.feed.doubt(presence.Revision(now.UnixMicro()))
}

// repeat makes the last leaves again. One that Redis holds finds no member.
func (d *doubts) repeat(ctx context.Context) error {
	if d.flying != 0 && !d.store.lease.dead(d.flying) {
		return errors.New("repeated leaves are still under way")
	}
	now, err := d.client.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("read Redis's clock: %w", err)
	}
	until := now.Add(opLife).UnixMilli()
	for calls := d.calls(until); len(calls) > 0; {
		n := min(len(calls), repeatChunk)
		d.flying = until
		for _, result := range callAll(ctx, d.client, d.leave, calls[:n]) {
			if err := result.Err(); err != nil {
				return fmt.Errorf("repeat the last leaves: %w", err)
			}
		}
		calls = calls[n:]
	}
	d.flying = 0
	return nil
}

// calls are the calls that make the last leaves again.
func (d *doubts) calls(until int64) []request {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, floor := d.store.keys, d.floor.Load()
	var calls []request
	d.leaves.all(func(key leaveKey, l lastLeave) {
		if len(calls) == 0 || len(calls[len(calls)-1].keys) == runOps {
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
