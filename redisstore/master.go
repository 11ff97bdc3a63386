package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// One master: the connections to it, and what is known of the server behind
// them.

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
	at     time.Time // before it was asked
	id     string
	info   map[string]string
	err    error
}

// look asks the master what it is, and for the time. It blocks for a round trip.
func (o *master) look(ctx context.Context) look {
	at, sent := time.Now(), o.store.clock()
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
	return look{master: o, at: at, info: info, id: identity(info)}
}

// lower is an estimate of the master's clock, in ms, that is never too high. t
// is a time of the store's clock.
func (o *master) lower(t int64) int64 {
	if r := o.clock.Load(); r != nil {
		return r.now + (t-r.got)/int64(time.Millisecond)
	}
	return o.store.lease.grant.Load().lower(t)
}
