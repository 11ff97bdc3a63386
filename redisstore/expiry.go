package redisstore

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// The due list. Each shard has one, `<p>:{c3f}:due`: what must be finished, and
// by when. An ended grace is found in three ways, the quickest first:
//
//	ring   Redis tells that the grace's key expired (notices.go)
//	nudge  a deadline in an own shard is past: one look at the key, and Redis
//	       finds that it has expired, and rings
//	poll   it is in the list still, a poll after the nudge; or, in somebody
//	       else's shard, othersAfter behind its deadline: that node is dead
//
//	ring, poll ──▶ claim ──▶ leave × rooms ──▶ finish
//
// So a grace ends 250 ms late at most, 500 ms where the ring is lost, 800 ms
// where the node is dead too, whatever else expires in this Redis and with
// notices off. Whose a shard is: rendezvous.go.
//
// claim moves the deadline on by claimTime, so that whoever claims and dies is
// replaced; two who claim at once do no harm, for a leave that finds no member
// is nothing (invariant 2).
//
// After Redis was started anew nothing is claimed for as long as a lease is:
// the nodes first restore what it may have lost.

const (
	ownPoll     = 250 * time.Millisecond // how often a node looks into its own shards
	othersPoll  = 400 * time.Millisecond // and into all others
	othersAfter = 400 * time.Millisecond // how late a deadline is that its own node missed
	gatherRings = 5 * time.Millisecond   // rings that go into one claim
	lineupEvery = time.Second            // how often it is looked who is alive, at the most
	// claimChunk is how many connections a claim takes: none longer than 1 ms.
	claimChunk = 100
	// claimBusy is how many departures from the due list may be under way
	// before no more are claimed.
	claimBusy = 1024
	// ringLimit is how many rings may wait. The rest is found by polling.
	ringLimit = 8192
	// nudgeMemory is for how long it is known that a key was looked at.
	nudgeMemory = 10 * time.Second
)

// What had a grace claimed: the values of the metric.
const (
	byEvent = "event"
	byNudge = "nudge"
	byPoll  = "poll"
)

// ring is a grace whose end Redis told.
type ring struct {
	conn presence.ConnID
	at   int64 // the store's clock
}

// want is a connection that is to be claimed.
type want struct {
	ring
	by    string
	score int64 // byPoll: its deadline in the list, Redis ms
}

// claimer takes what is due.
type claimer struct {
	// set once
	store *Store
	claim script
	sure  func() bool // Redis holds what it acknowledged, see settled
	rings chan ring

	// atomic
	halted atomic.Bool // nothing more is claimed: this node ends

	// owned by run
	lineup *lineup
	wants  [shards][]want
	wanted map[presence.ConnID]struct{} // those in wants
	nudged map[presence.ConnID]int64    // when, on the store's clock
}

func newClaimer(s *Store) *claimer {
	return &claimer{
		store: s, claim: newScript("claim"), sure: s.settled, rings: make(chan ring, ringLimit),
		lineup: &lineup{},
		wanted: make(map[presence.ConnID]struct{}), nudged: make(map[presence.ConnID]int64),
	}
}

// ring tells that the grace of conn has ended. It never blocks.
func (c *claimer) ring(conn presence.ConnID) {
	select {
	case c.rings <- ring{conn, c.store.clock()}:
	default:
	}
}

// run claims until ctx ends.
func (c *claimer) run(ctx context.Context) {
	own, others := time.NewTicker(ownPoll), time.NewTicker(othersPoll)
	look := time.NewTicker(min(c.store.opts.LeaseBeat, lineupEvery))
	defer own.Stop()
	defer others.Stop()
	defer look.Stop()
	var gathered <-chan time.Time
	c.look(ctx)
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case r := <-c.rings:
			if c.rung(r) && gathered == nil {
				gathered = time.After(gatherRings)
			}
			continue
		case <-gathered:
			gathered = nil
		case <-c.store.departures.room:
		case <-own.C:
			for len(c.rings) > 0 { // else what has rung is taken for what has not
				c.rung(<-c.rings)
			}
			err = c.poll(ctx, true)
		case <-others.C:
			err = c.poll(ctx, false)
		case <-look.C:
			c.look(ctx)
			continue
		}
		if err = errors.Join(err, c.take(ctx)); err != nil && ctx.Err() == nil {
			c.store.log.Debug("looking for what is due did not work", "err", err)
		}
	}
}

// look learns which nodes are alive. While Redis does not say, they are those
// that were.
func (c *claimer) look(ctx context.Context) {
	c.store.showSessions()
	lineup, err := c.store.readLineup(ctx)
	if err != nil {
		return // the beat fails for the same reason, and tells
	}
	c.lineup = lineup
	c.store.lineup.Store(lineup)
	now := c.store.clock()
	for conn, at := range c.nudged {
		if now-at > int64(nudgeMemory) {
			delete(c.nudged, conn)
		}
	}
}

// may reports whether this node may end what is due.
func (c *claimer) may() bool {
	_, _, ok := c.store.lease.window()
	return ok && !c.halted.Load() && c.sure()
}

// rung notes a ring of an own shard; false for any other.
func (c *claimer) rung(r ring) bool {
	if !c.lineup.own[r.conn.Shard()] {
		return false
	}
	w := want{ring: r, by: byEvent}
	if _, ok := c.nudged[r.conn]; ok {
		w.by = byNudge
	}
	return c.want(w)
}

// want lists a connection to be claimed, once.
func (c *claimer) want(w want) bool {
	if _, ok := c.wanted[w.conn]; ok || len(c.wanted) >= ringLimit {
		return false
	}
	c.wanted[w.conn] = struct{}{}
	shard := w.conn.Shard()
	c.wants[shard] = append(c.wants[shard], w)
	return true
}

// poll looks into the due lists of the own shards, or of all others. It blocks
// for a round trip, and one more where something is nudged.
func (c *claimer) poll(ctx context.Context, own bool) error {
	if !c.may() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	now := c.store.clock()
	at := c.store.masters.now.Load()
	pipe := c.store.control().Pipeline()
	lists := make([]*redis.ZSliceCmd, shards)
	for shard := range lists {
		if c.lineup.own[shard] != own {
			continue
		}
		until := at.shards[shard].lower(now) // each master goes by its own clock
		if !own {
			until -= othersAfter.Milliseconds()
		}
		lists[shard] = pipe.ZRangeByScoreWithScores(ctx, c.store.keys.due(shard),
			&redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(until, 10), Count: claimChunk})
	}
	if pipe.Len() == 0 {
		return nil
	}
	_, _ = pipe.Exec(ctx) // each list has its error
	var nudges []presence.ConnID
	var away error
	for shard, list := range lists {
		if list == nil {
			continue
		}
		switch err := list.Err(); fateOf(err) {
		case fateAnswered:
		case fateLost, fateAway, fateMoved:
			away = err // a master that does not answer says nothing about the others
			continue
		default:
			c.store.log.Error("a due list cannot be read", "shard", shard, "err", err)
			continue
		}
		for _, entry := range list.Val() {
			nudges = c.found(nudges, shard, entry, own)
		}
	}
	return errors.Join(away, c.nudge(ctx, nudges))
}

// found decides about one entry of a due list that is past: it is claimed, or
// appended to nudges.
func (c *claimer) found(nudges []presence.ConnID, shard int, entry redis.Z, own bool) []presence.ConnID {
	name, _ := entry.Member.(string)
	conn, ok := presence.ParseConnID(name)
	if !ok || conn.Shard() != shard {
		c.store.log.Error("a due list holds something else than a connection", "shard", shard, "bytes", len(name))
		return nudges
	}
	if c.store.departures.departing(conn) {
		return nudges // ours already, and slow
	}
	if _, before := c.nudged[conn]; own && !before {
		return append(nudges, conn)
	}
	c.want(want{ring: ring{conn, c.store.clock()}, by: byPoll, score: int64(entry.Score)})
	return nudges
}

// nudge looks at the keys of graces that should be over, so that Redis finds
// out that they are.
func (c *claimer) nudge(ctx context.Context, list []presence.ConnID) error {
	if len(list) == 0 {
		return nil
	}
	pipe := c.store.control().Pipeline()
	now := c.store.clock()
	for _, conn := range list {
		c.nudged[conn] = now
		pipe.Exists(ctx, c.store.keys.grace(conn))
	}
	if _, err := pipe.Exec(ctx); err != nil && fateOf(err) == fateLost {
		return err // what was not looked at is claimed at the next poll
	}
	return nil
}

// take claims what is wanted, as much as may be under way, and begins the
// departures. It blocks for a round trip, or several where there is much.
func (c *claimer) take(ctx context.Context) error {
	for len(c.wanted) > 0 {
		if !c.may() {
			c.drop() // it is in the list
			return nil
		}
		budget := claimBusy - c.store.departures.busy()
		var calls []request
		var taken [][]want
		for shard := range c.wants {
			n := min(len(c.wants[shard]), claimChunk, budget)
			if n <= 0 {
				continue
			}
			batch := c.wants[shard][:n:n]
			c.wants[shard] = c.wants[shard][n:]
			budget -= n
			calls, taken = append(calls, c.request(shard, batch)), append(taken, batch)
		}
		if len(calls) == 0 {
			return nil // departures.room tells when to go on
		}
		if err := c.send(ctx, calls, taken); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets what is wanted.
func (c *claimer) drop() {
	clear(c.wanted)
	for shard := range c.wants {
		c.wants[shard] = nil
	}
}

// request is the claim of connections of one shard.
func (c *claimer) request(shard int, batch []want) request {
	r := request{keys: []string{c.store.keys.due(shard)}, args: []any{claimTime.Milliseconds()}}
	for _, w := range batch {
		r.keys = append(r.keys, c.store.keys.session(w.conn), c.store.keys.grace(w.conn))
		r.args = append(r.args, w.conn.String())
	}
	return r
}

// send claims, and begins the departures of what was due.
func (c *claimer) send(ctx context.Context, calls []request, taken [][]want) error {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	var lost error
	for i, result := range c.store.callAll(ctx, c.claim, calls) {
		batch := make(map[presence.ConnID]want, len(taken[i]))
		for _, w := range taken[i] {
			batch[w.conn] = w
			delete(c.wanted, w.conn)
			delete(c.nudged, w.conn)
		}
		switch err := result.Err(); fateOf(err) {
		case fateAnswered:
			c.claimed(batch, result.Val())
		case fateLost, fateAway, fateMoved:
			lost = err
		default:
			c.store.log.Error("what is due cannot be claimed", "err", err)
		}
	}
	return lost
}

// claimed reads what a claim answered: its time, then connection and fields of
// each that was due.
func (c *claimer) claimed(batch map[presence.ConnID]want, reply any) {
	items, ok := reply.([]any)
	if !ok || len(items) == 0 {
		c.store.log.Error("a claim gave an unreadable answer")
		return
	}
	at, _ := items[0].(int64)
	for i := 1; i+1 < len(items); i += 2 {
		name, _ := items[i].(string)
		conn, ok := presence.ParseConnID(name)
		list, readable := strs(items[i+1])
		if !ok || !readable {
			c.store.log.Error("a session that is due cannot be read", "conn", name)
			continue
		}
		c.begin(batch[conn], conn, list, at)
	}
}

// begin makes one claimed connection leave.
func (c *claimer) begin(w want, conn presence.ConnID, list []string, at int64) {
	fields := sessionFields(list)
	inc, ok := parseDecimal([]byte(fields["inc"]))
	if fields["state"] != "leaving" || !ok {
		return // gone: its retention is over, and the claim deleted it
	}
	d := &departure{conn: conn, inc: inc, claim: at, claimed: true}
	d.take(list)
	// A deadline in the list that is not that of the grace is a claimer's who
	// died, or a fence's.
	if due, _ := parseDecimal([]byte(fields["due"])); due != 0 && (w.by != byPoll || w.score == due) {
		grace, _ := parseDecimal([]byte(fields["grace"]))
		d.cause = due - grace
		c.count(w, d, due)
	}
	c.store.departures.begin(d)
}

// count counts a grace that ended.
func (c *claimer) count(w want, d *departure, due int64) {
	if w.by != byPoll {
		lag := c.store.lease.grant.Load().upper(w.at) - due
		c.store.metrics.ExpiryLag.Observe(max(0, time.Duration(lag)*time.Millisecond).Seconds())
	}
	if d.reason == presence.ReasonNodeLost {
		// Its grace began at the node's last beat, and is not shorter than a
		// lease. One that was over when the node was found dead has no key
		// that could ring.
		d.cause = min(d.cause, due-c.store.opts.LeaseTTL.Milliseconds())
		if w.by == byPoll {
			return
		}
	}
	c.store.metrics.Rings.WithLabelValues(w.by).Inc()
}
