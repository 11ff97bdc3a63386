package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The lease is this node's right to write.
//
//	register ──▶ stamp n1.5 ──beat──▶ granted ──beat──▶ granted ──▶ …
//	    ▲                               │ no beat answered for the TTL
//	    │ FENCED: the stamp is no       ▼
//	    └ longer in the registry      lapsed ──beat──▶ granted (same stamp)
//
// Every write carries validUntil, on Redis's clock, and the scripts refuse it
// from then on: so a node that was paused or cut off cannot write after the
// others gave it up (invariant 5). A node needs no clock of its own for that;
// it only measures how long ago Redis told the time:
//
//	      request        answer "now"          t
//	─────────┴─────────────────┴───────────────┴──▶ our clock
//	         ├── upper: now + (t - request) ───┤    Redis's clock is not later
//	                           ├─ lower: now + (t - answer): not earlier
//
// A lapsed lease that nobody condemned revives with the next beat: an outage
// of Redis makes no node change its stamp.

const (
	// opLife bounds the life of one operation: it is answered, refused or
	// declared unknown within it, and its write is dead on Redis's clock.
	opLife = 2 * time.Second
	// beatRetry is how soon a failed beat is tried again.
	beatRetry = 250 * time.Millisecond
	// probePause is how soon the next probe goes out when none came back: two
	// that are missing end the feed's link, so not sooner than a slow Redis
	// brings them.
	probePause = 500 * time.Millisecond
)

// errFenced: the registry does not have our stamp.
var errFenced = errors.New("the registry does not have this node's stamp")

// grant is one answered beat. It is never changed.
type grant struct {
	stamp string
	since int64 // Redis ms of the registration; a connection's inc is not below it
	now   int64 // Redis ms of the answer
	end   int64 // Redis ms at which the lease ends
	sent  int64 // our clock when the request left
	got   int64 // our clock when the answer came
}

// lower is an estimate of Redis's clock, in ms, that is never too high.
func (g *grant) lower(t int64) int64 { return g.now + (t-g.got)/int64(time.Millisecond) }

// upper is an estimate of Redis's clock, in ms, that is never too low.
func (g *grant) upper(t int64) int64 { return g.now + (t-g.sent)/int64(time.Millisecond) + 1 }

// validUntil is until when, in ms of Redis's clock, a write that is sent at t
// may take effect; ok is false when that is over already. probeAge is how long
// ago the last probe was sent that came back: what came before it on our
// channel, such as the news that a connection was taken, has been heard.
func (g *grant) validUntil(t int64, probeAge, ttl time.Duration) (ms int64, ok bool) {
	ms = min(g.end, g.lower(t)+opLife.Milliseconds(), g.heardUntil(t, probeAge, ttl))
	return ms, ms > g.upper(t)
}

// heardUntil is until when it is sure that this node would know if a connection
// was taken from it.
func (g *grant) heardUntil(t int64, probeAge, ttl time.Duration) int64 {
	return g.lower(t) + (ttl - min(probeAge, math.MaxInt64/2)).Milliseconds()
}

// prober is what the lease needs of the feed: a probe goes out with each beat,
// and its coming back proves that we hear.
type prober interface {
	setStamp(stamp string)
	vouch(master string, at time.Time)
	probe(n int64)
	probeAge() time.Duration
	probeAgeOf(shard int) time.Duration
	probeAgeLeast() time.Duration
}

// lease registers this node and keeps it registered.
type lease struct {
	// set once
	opts    Options
	keys    keys
	log     *slog.Logger
	store   *Store // for its clock, and to tell it of a beat
	feed    prober
	scripts struct{ register, beat, retire, bury script }

	grant atomic.Pointer[grant] // nil before the first beat

	probes atomic.Int64

	skew atomic.Int64  // how far the masters' clocks may be apart, ns
	soon chan struct{} // asks for a beat at once

	// mu protects
	mu     sync.Mutex
	stamps map[string]bool // all that this process had
	clocks condition       // do the masters' clocks agree
	hold   condition       // is the lease held
	hear   condition       // does the feed hear
}

func newLease(s *Store) *lease {
	l := &lease{opts: s.opts, keys: s.keys, log: s.log, store: s, feed: s.feed, soon: make(chan struct{}, 1), stamps: make(map[string]bool)}
	l.skew.Store(int64(s.opts.ClockSkew))
	l.scripts.register, l.scripts.beat = newScript("register"), newScript("beat")
	l.scripts.retire, l.scripts.bury = newScript("retire"), newScript("bury")
	return l
}

// registryValue is what a node says of itself in the registry.
type registryValue struct {
	Addr        string `json:"addr"`
	Started     string `json:"started"` // RFC 3339
	Version     string `json:"version"`
	Connections int64  `json:"connections"`
	ProbeMs     int64  `json:"probe_ms"` // age of the last probe that came back, -1: none did
	Draining    bool   `json:"draining"`
	Reclaiming  bool   `json:"reclaiming"` // it writes again what Redis may have lost
}

func (l *lease) value() (string, error) {
	v := registryValue{
		Addr: l.opts.Addr, Started: l.store.start.UTC().Format(time.RFC3339), Version: l.opts.Version,
		Connections: max(0, l.store.sessions.Load()), ProbeMs: -1, Draining: l.store.draining.Load(), Reclaiming: l.store.reclaims.busy(),
	}
	if age := l.feed.probeAge(); age < time.Hour {
		v.ProbeMs = age.Milliseconds()
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// register takes a new stamp and holds its first lease. It blocks for two
// round trips.
func (l *lease) register(ctx context.Context) error {
	value, err := l.value()
	if err != nil {
		return err
	}
	reply, err := l.store.call(ctx, l.scripts.register,
		[]string{l.keys.epochs(), l.keys.registry(), l.keys.nodesDue()},
		l.opts.NodeID, l.opts.LeaseTTL.Milliseconds(), value)
	if err != nil {
		return fmt.Errorf("register node %s: %w", l.opts.NodeID, err)
	}
	items, ok := strs(reply)
	if !ok || len(items) != 2 {
		return fmt.Errorf("register node %s: unreadable answer %v", l.opts.NodeID, reply)
	}
	since, ok := parseDecimal([]byte(items[1]))
	if !ok {
		return fmt.Errorf("register node %s: unreadable time %q", l.opts.NodeID, items[1])
	}
	l.mu.Lock()
	l.stamps[items[0]] = true
	l.mu.Unlock()
	// The lease's key is known only now, so the first beat sets it.
	if err := l.beat(ctx, items[0], since); err != nil {
		return fmt.Errorf("first beat of %s: %w", items[0], err)
	}
	l.feed.setStamp(items[0]) // its notices, probes among them, come on a channel with its name
	return nil
}

// beat renews the lease of stamp. It blocks for a round trip.
func (l *lease) beat(ctx context.Context, stamp string, since int64) error {
	value, err := l.value()
	if err != nil {
		return err
	}
	sent := l.store.clock()
	reply, err := l.store.call(ctx, l.scripts.beat,
		[]string{l.keys.lease(stamp), l.keys.registry(), l.keys.nodesDue()},
		stamp, l.opts.LeaseTTL.Milliseconds(), value)
	switch fateOf(err) {
	case fateAnswered:
	case fateFencedInc, fateFencedLease:
		return errFenced
	default:
		return err
	}
	got := l.store.clock()
	items, ok := strs(reply)
	if !ok || len(items) != 2 {
		if ok && len(items) == 1 && fateOfText(items[0]) == fateFencedInc {
			return errFenced
		}
		return fmt.Errorf("unreadable answer %v", reply)
	}
	now, ok1 := parseDecimal([]byte(items[0]))
	end, ok2 := parseDecimal([]byte(items[1]))
	if !ok1 || !ok2 {
		return fmt.Errorf("unreadable answer %v", items)
	}
	l.grant.Store(&grant{stamp: stamp, since: since, now: now, end: end, sent: sent, got: got})
	return nil
}

// run beats until ctx ends.
func (l *lease) run(ctx context.Context) {
	for {
		began := time.Now()
		wait := l.opts.LeaseBeat
		switch ok := l.turn(ctx); {
		case !ok:
			wait = min(wait, beatRetry)
		case l.grant.Load() == nil || l.feed.probeAge() > 2*l.opts.LeaseBeat:
			wait = min(wait, probePause) // nothing may be written before one is back
		default:
			wait = max(beatRetry, wait-time.Since(began)) // a master that hangs takes its time
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-l.soon:
		}
	}
}

// turn is one beat with all that goes with it; false when it failed, or when a
// master has to be looked at again soon.
func (l *lease) turn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	t := l.store.masters.now.Load()
	others := l.lookAt(ctx, t)
	err := l.meet(ctx, t.nodes.look(ctx), l.renew)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		others()
		return false // the store ends: that says nothing about Redis
	}
	l.observe(t.nodes, err)
	l.store.doubts.beat(err == nil)
	if err != nil {
		l.opts.Metrics.LeaseRenewFailures.Inc()
	} else {
		l.feed.probe(l.probes.Add(1))
		l.store.settler.poke()
		l.store.departures.poke()
	}
	ok := err == nil
	for _, seen := range others() {
		seen.err = l.meet(ctx, seen, noBeat)
		if errors.Is(ctx.Err(), context.Canceled) {
			return false
		}
		l.observe(seen.master, seen.err)
		ok = ok && (seen.err == nil || seen.master.server.Load() != nil)
	}
	l.measure(t)
	return ok
}

// lookAt begins to look at the masters that the lease is not on; the result
// waits for it, for a second at most.
func (l *lease) lookAt(ctx context.Context, t *topology) (wait func() []look) {
	ctx, cancel := context.WithTimeout(ctx, opLife/2)
	var list []look
	var mu sync.Mutex
	var looking sync.WaitGroup
	for _, m := range t.all {
		if m == t.nodes {
			continue
		}
		looking.Go(func() {
			seen := m.look(ctx)
			mu.Lock()
			defer mu.Unlock()
			list = append(list, seen)
		})
	}
	return func() []look {
		looking.Wait()
		cancel()
		return list
	}
}

// meet looks whether a master is the one that it was, and beats, on the one that
// has the lease. Where its past is in doubt, or the stamp is a new one, every
// connection is to be reclaimed.
func (l *lease) meet(ctx context.Context, seen look, beat func(context.Context) error) error {
	if seen.err != nil {
		return seen.err
	}
	m := seen.master
	known := m.knows(seen.id)
	if known {
		l.feed.vouch(m.name, seen.at)
	} else if err := l.store.doubts.past(ctx, seen); err != nil {
		return err
	}
	stamp := l.grant.Load().stamp
	if err := beat(ctx); err != nil {
		return err
	}
	if !known || l.grant.Load().stamp != stamp {
		l.store.doubts.reclaim()
	}
	if !known {
		m.know(seen.id)
		l.store.doubts.endAgain()
	}
	return nil
}

// noBeat is for a master that the lease is not on.
func noBeat(context.Context) error { return nil }

// measure finds how far the masters' clocks are apart. Reapers wait for so long
// longer; above the setting this node is not ready, for what is late by one
// clock may still be on time by another.
func (l *lease) measure(t *topology) {
	spread := t.spread()
	l.skew.Store(int64(max(l.opts.ClockSkew, spread)))
	l.opts.Metrics.ClockSpread.Set(spread.Seconds())
}

// skewTime is for how long what one master's clock has ended may go on by
// another's.
func (l *lease) skewTime() time.Duration { return time.Duration(l.skew.Load()) }

// renew beats, and takes a new stamp where the registry does not know ours:
// Redis came back empty, or the others condemned us. Connections of the old
// stamp are refused until they are reclaimed (see lane.take); their departures
// are not.
func (l *lease) renew(ctx context.Context) error {
	g := l.grant.Load()
	err := l.beat(ctx, g.stamp, g.since)
	if !errors.Is(err, errFenced) {
		return err
	}
	l.opts.Metrics.FencedOperations.Inc()
	l.log.Error("lost the lease for good; taking a new stamp", "epoch", g.stamp)
	forgot, err := l.keepEpoch(ctx, g.stamp)
	if err == nil && forgot {
		err = l.store.doubts.emptied(ctx)
	}
	if err != nil {
		return err
	}
	if err := l.register(ctx); err != nil {
		return err
	}
	l.log.Warn("registered again", "epoch", l.grant.Load().stamp)
	return nil
}

// keepEpoch makes sure that the next stamp is not one that this process had:
// a Redis that came back empty, or was flushed, counts from 1 again. It reports
// whether it is one.
func (l *lease) keepEpoch(ctx context.Context, stamp string) (forgot bool, err error) {
	had, err := strconv.ParseInt(stamp[strings.LastIndexByte(stamp, '.')+1:], 10, 64)
	if err != nil {
		return false, fmt.Errorf("stamp %q has no epoch: %w", stamp, err)
	}
	knows, err := l.store.control().HGet(ctx, l.keys.epochs(), l.opts.NodeID).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read the last epoch: %w", err)
	}
	if knows >= had {
		return false, nil
	}
	return true, l.store.control().HIncrBy(ctx, l.keys.epochs(), l.opts.NodeID, had-knows).Err()
}

// had reports whether stamp is one of this process.
func (l *lease) had(stamp string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stamps[stamp]
}

// window is validUntil for a write that is sent now, with the grant it rests
// on, as far as it does not depend on the connection; ok is false when this
// node may not write, or hears from no master.
func (l *lease) window() (ms int64, g *grant, ok bool) {
	g = l.grant.Load()
	if g == nil {
		return 0, nil, false
	}
	ms, ok = g.validUntil(l.store.clock(), l.feed.probeAgeLeast(), l.opts.LeaseTTL)
	return ms, g, ok
}

// windowOf reports whether this node may write for a connection of a shard.
func (l *lease) windowOf(shard int) bool {
	g := l.grant.Load()
	if g == nil {
		return false
	}
	_, ok := g.validUntil(l.store.clock(), l.feed.probeAgeOf(shard), l.opts.LeaseTTL)
	return ok
}

// dead reports whether a write with this validUntil can no longer take
// effect, wherever it still travels.
func (l *lease) dead(validUntil int64) bool { return l.untilDead(validUntil) <= 0 }

// untilDead is how long to wait until dead is true. It counts by the lower
// estimate of Redis's clock: by the upper one, a write could still be on time.
func (l *lease) untilDead(validUntil int64) time.Duration {
	g := l.grant.Load()
	ms := validUntil + l.skewTime().Milliseconds() + 1 - g.lower(l.store.clock())
	return time.Duration(ms) * time.Millisecond
}
