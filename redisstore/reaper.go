package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// A node that died. Its sockets are gone, but in Redis its connections are
// live, so somebody has to begin their graces:
//
//	lease ends ──▶ condemn ──▶ orphan × 256 shards ──▶ bury
//	                  │            └─▶ [rest of the grace] ──▶ claim ──▶ leave × rooms ──▶ finish
//	                  └─ from here that stamp can never write again, and is in
//	                     `reaping` until its indexes are empty
//
// Every node looks, and each begins with the shards that are its own
// (rendezvous.go). What is left of a stamp after othersReap anybody takes; so
// a reaper that dies is replaced, and repeating all of it is harmless.
//
// After an outage of Redis all leases look dead. So nobody is judged by a node
// that missed a beat itself within the last TTL, or by one whose Redis was
// started anew in it: by then everybody had time to beat (invariant 11).
//
// A stamp that was given up by consent (retire.go) is in `reaping` like the
// others, with a lease that ended at the very moment of its end. Its
// connections were not lost with a node: they get the grace of a drain, and
// leave for a timeout.

const (
	reapPoll   = 250 * time.Millisecond // how often it is looked whose lease has ended
	othersReap = time.Second            // how long a shard is left to the node whose it is
	// orphanChunk is how many connections a call takes: none longer than 1 ms.
	orphanChunk = 200
)

// reaper finds dead nodes and ends what they left.
type reaper struct {
	// set once
	store           *Store
	condemn, orphan script
	bury            script
	sure            func() bool // this node and its Redis are well, see Store.judge
	soon            chan struct{}

	// atomic
	halted atomic.Bool // no more is reaped: this node ends
}

// corpse is a stamp that can never write again and is not buried yet.
type corpse struct {
	stamp     string
	end       int64 // of its lease, Redis ms
	condemned int64 // when, Redis ms; when it ended by consent, equal to end
}

func newReaper(s *Store) *reaper {
	return &reaper{
		store: s, sure: s.judge, soon: make(chan struct{}, 1),
		condemn: newScript("condemn"), orphan: newScript("orphan"), bury: newScript("bury"),
	}
}

// ring tells that the lease of a stamp has ended. It never blocks.
func (r *reaper) ring(string) {
	select {
	case r.soon <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (r *reaper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(reapPoll):
		case <-r.soon:
		}
		if err := r.turn(ctx); err != nil && ctx.Err() == nil {
			r.store.log.Warn("reaping what dead nodes left did not work; trying again", "err", err)
		}
	}
}

// turn looks for dead nodes once, and works on those there are. It blocks for
// a round trip, and more where a node died.
func (r *reaper) turn(ctx context.Context) error {
	if _, _, ok := r.store.lease.window(); !ok || r.halted.Load() || !r.sure() {
		return nil
	}
	dead, err := r.look(ctx)
	if err != nil {
		if f := fateOf(err); f == fateLost || f == fateAway || f == fateMoved {
			return nil // the beat fails for the same reason, and tells
		}
		return err
	}
	var errs []error
	for _, c := range dead {
		errs = append(errs, r.reap(ctx, c))
	}
	return errors.Join(errs...)
}

// look condemns those whose lease has ended, and returns all who are condemned.
func (r *reaper) look(ctx context.Context) ([]corpse, error) {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	g := r.store.lease.grant.Load()
	pipe := r.store.control().Pipeline()
	due := pipe.ZRangeByScore(ctx, r.store.keys.nodesDue(), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(g.upper(r.store.clock()), 10),
	})
	reaping := pipe.HGetAll(ctx, r.store.keys.reaping())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look for dead nodes: %w", err)
	}
	var dead []corpse
	for stamp, value := range reaping.Val() {
		c, ok := parseCorpse(stamp, value)
		if !ok {
			r.store.log.Error("the list of condemned stamps holds an unreadable entry", "epoch", stamp)
			continue
		}
		dead = append(dead, c)
	}
	for _, stamp := range due.Val() {
		if _, ok := reaping.Val()[stamp]; ok || stamp == g.stamp {
			continue
		}
		c, err := r.judge(ctx, stamp)
		if err != nil {
			return nil, err
		}
		if c.stamp != "" {
			dead = append(dead, c)
		}
	}
	return dead, nil
}

// judge condemns a stamp, unless it is alive after all: then the corpse is
// nobody's.
func (r *reaper) judge(ctx context.Context, stamp string) (corpse, error) {
	k := r.store.keys
	reply, err := r.store.call(ctx, r.condemn, []string{k.lease(stamp), k.registry(), k.nodesDue(), k.reaping()},
		stamp, r.store.lease.skewTime().Milliseconds(), claimTime.Milliseconds())
	if err != nil {
		return corpse{}, fmt.Errorf("condemn %s: %w", stamp, err)
	}
	end, _ := reply.(int64)
	if end == 0 {
		return corpse{}, nil
	}
	// Somebody may have been quicker, by consent too: what counts is written.
	value, err := r.store.control().HGet(ctx, k.reaping(), stamp).Result()
	if errors.Is(err, redis.Nil) {
		return corpse{}, nil // and buried already
	} else if err != nil {
		return corpse{}, fmt.Errorf("condemn %s: %w", stamp, err)
	}
	c, ok := parseCorpse(stamp, value)
	if !ok || c.consent() {
		return c, nil
	}
	r.store.metrics.NodesLost.Inc()
	r.store.log.Warn("a node is dead; its connections are given the rest of their grace", "epoch", stamp)
	return c, nil
}

// parseCorpse reads an entry of `reaping`: `<lease end ms> <condemned ms>`.
func parseCorpse(stamp, value string) (c corpse, ok bool) {
	end, at, _ := strings.Cut(value, " ")
	c.stamp = stamp
	c.end, ok = parseDecimal([]byte(end))
	if !ok {
		return corpse{}, false
	}
	c.condemned, ok = parseDecimal([]byte(at))
	return c, ok
}

// consent reports whether the stamp was given up by its own node. Nobody is
// condemned before his lease has been over for a millisecond.
func (c corpse) consent() bool { return c.end == c.condemned }

// reap orphans the connections of c that are for this node to orphan, and
// buries c when none is left. It blocks for as long as that takes.
func (r *reaper) reap(ctx context.Context, c corpse) error {
	left, err := r.left(ctx, c)
	if err != nil {
		return err
	}
	var mine []int
	all := r.now()-c.condemned >= othersReap.Milliseconds()
	lineup := r.store.lineup.Load()
	for _, shard := range left {
		if all || lineup != nil && lineup.own[shard] {
			mine = append(mine, shard)
		}
	}
	if len(mine) > 0 {
		if err := r.empty(ctx, c, mine); err != nil {
			return err
		}
		if left, err = r.left(ctx, c); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return nil
	}
	return r.burial(ctx, c)
}

// now is Redis's clock in ms, not too late.
func (r *reaper) now() int64 { return r.store.lease.grant.Load().lower(r.store.clock()) }

// left returns the shards in which connections of c are listed. It blocks for
// a round trip.
func (r *reaper) left(ctx context.Context, c corpse) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	pipe := r.store.control().Pipeline()
	indexes := make([]*redis.IntCmd, shards)
	for shard := range indexes {
		indexes[shard] = pipe.HLen(ctx, r.store.keys.node(shard, c.stamp))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look for connections of %s: %w", c.stamp, err)
	}
	var left []int
	for shard, index := range indexes {
		if index.Val() > 0 {
			left = append(left, shard)
		}
	}
	return left, nil
}

// empty begins the graces of all connections of c in some shards. It blocks
// for two round trips for each orphanChunk connections of the fullest shard.
func (r *reaper) empty(ctx context.Context, c corpse, left []int) error {
	for len(left) > 0 {
		calls, more, err := r.scan(ctx, c, left)
		if err != nil {
			return err
		}
		sending, cancel := context.WithTimeout(ctx, opLife)
		for _, result := range r.store.callAll(sending, r.orphan, calls) {
			if err := result.Err(); err != nil {
				cancel()
				return fmt.Errorf("begin the graces of %s: %w", c.stamp, err)
			}
		}
		cancel()
		left = more
	}
	return nil
}

// scan reads a page of each index and returns the calls that empty it, and the
// shards in which there may be more.
func (r *reaper) scan(ctx context.Context, c corpse, left []int) (calls []request, more []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	pipe := r.store.control().Pipeline()
	pages := make([]*redis.ScanCmd, len(left))
	for i, shard := range left {
		// From the beginning each time: what was read is taken out.
		pages[i] = pipe.HScan(ctx, r.store.keys.node(shard, c.stamp), 0, "", orphanChunk)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, nil, fmt.Errorf("list connections of %s: %w", c.stamp, err)
	}
	for i, shard := range left {
		list, cursor := pages[i].Val()
		if cursor != 0 {
			more = append(more, shard)
		}
		for len(list) > 0 {
			n := min(len(list), 2*orphanChunk) // connection, inc, …
			calls = append(calls, r.request(c, shard, list[:n]))
			list = list[n:]
		}
	}
	return calls, more, nil
}

// request is the orphan call for connections of one shard, in a list of
// connection, inc, ….
func (r *reaper) request(c corpse, shard int, list []string) request {
	k := r.store.keys
	why, ttl, grace := presence.ReasonNodeLost, r.store.opts.LeaseTTL, time.Duration(0)
	if c.consent() {
		why, ttl, grace = presence.ReasonTimeout, 0, r.store.opts.DrainGrace
	}
	q := request{
		keys: []string{k.node(shard, c.stamp), k.due(shard)},
		args: []any{c.stamp, string(why), c.end, ttl.Milliseconds(), grace.Milliseconds()},
	}
	for i := 0; i+1 < len(list); i += 2 {
		// Somebody's hand may have put a name there that is no connection: the
		// script takes it out, and finds no session of it.
		name := list[i]
		q.keys = append(q.keys, k.shard(shard, ":session:")+name, k.shard(shard, ":grace:")+name)
		q.args = append(q.args, name)
	}
	return q
}

// burial forgets c: no connection is listed under it any more.
func (r *reaper) burial(ctx context.Context, c corpse) error {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	buried, err := r.store.call(ctx, r.bury, []string{r.store.keys.reaping(), r.store.keys.nodesDue()}, c.stamp)
	if err != nil {
		return fmt.Errorf("bury %s: %w", c.stamp, err)
	}
	if n, _ := buried.(int64); n == 1 {
		r.store.log.Info("a stamp is buried: all its connections are ended or in their grace", "epoch", c.stamp)
	}
	return nil
}
