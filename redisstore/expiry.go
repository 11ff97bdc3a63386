package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// The due list. Each shard has one, `<p>:{c3f}:due`: what must be finished,
// and by when. Every node looks into all of them, and takes what is past:
//
//	poll ──▶ claim ──▶ leave × rooms ──▶ finish
//
// claim moves the deadline on by claimTime, so that whoever claims and dies is
// replaced; two who claim at once do no harm, for a leave that finds no member
// is nothing (invariant 2).

const (
	// duePoll is how often a node looks. A departure that somebody left half
	// done waits for it at most this long behind its deadline.
	duePoll = 400 * time.Millisecond
	// claimChunk is how many connections a claim takes: none longer than 1 ms.
	claimChunk = 100
	// claimBusy is how many departures from the due list may be under way
	// before no more are claimed.
	claimBusy = 1024
)

// claimer takes what is due.
type claimer struct {
	store  *Store
	client *redis.Client
	claim  script
}

// run looks until ctx ends.
func (c *claimer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(duePoll):
		}
		if err := c.turn(ctx); err != nil && ctx.Err() == nil {
			c.store.log.Debug("looking for what is due did not work", "err", err)
		}
	}
}

// turn looks into every shard once. It blocks for a round trip, and one more
// for each shard where something is due.
func (c *claimer) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	_, grant, ok := c.store.lease.window()
	if !ok || c.store.departures.busy() >= claimBusy {
		return nil // who may not write cannot leave; who has enough to do takes no more
	}
	pipe := c.client.Pipeline()
	lists := make([]*redis.StringSliceCmd, shards)
	until := strconv.FormatInt(grant.lower(c.store.clock()), 10)
	for shard := range lists {
		lists[shard] = pipe.ZRangeByScore(ctx, c.store.keys.due(shard),
			&redis.ZRangeBy{Min: "-inf", Max: until, Count: claimChunk})
	}
	if _, err := pipe.Exec(ctx); err != nil && fateOf(err) == fateLost {
		return err
	}
	for shard, list := range lists {
		if err := list.Err(); err != nil && fateOf(err) == fateAway {
			return err // loading its data, say: so it is for all shards
		} else if err != nil {
			c.store.log.Error("a due list cannot be read", "shard", shard, "err", err)
			continue
		}
		if len(list.Val()) == 0 {
			continue
		}
		if err := c.take(ctx, shard, list.Val()); err != nil {
			return err
		}
	}
	return nil
}

// take claims connections of one shard and begins their departures.
func (c *claimer) take(ctx context.Context, shard int, due []string) error {
	keys, args := []string{c.store.keys.due(shard)}, []any{claimTime.Milliseconds()}
	for _, name := range due {
		conn, ok := presence.ParseConnID(name)
		if !ok || conn.Shard() != shard {
			c.store.log.Error("a due list holds something else than a connection", "shard", shard, "bytes", len(name))
			continue
		}
		if c.store.departures.departing(conn) {
			continue // ours already, and slow
		}
		keys = append(keys, c.store.keys.session(conn), c.store.keys.grace(conn))
		args = append(args, name)
	}
	if len(args) == 1 {
		return nil
	}
	reply, err := call(ctx, c.client, c.claim, keys, args...)
	switch fateOf(err) {
	case fateAnswered:
	case fateLost:
		return err
	default:
		c.store.log.Error("what is due cannot be claimed", "shard", shard, "err", err)
		return nil
	}
	items, ok := reply.([]any)
	if !ok || len(items) == 0 {
		return nil
	}
	at, _ := items[0].(int64)
	for i := 1; i+1 < len(items); i += 2 {
		name, _ := items[i].(string)
		c.begin(name, items[i+1], at)
	}
	return nil
}

// begin makes one claimed connection leave.
func (c *claimer) begin(name string, reply any, at int64) {
	conn, ok := presence.ParseConnID(name)
	list, readable := strs(reply)
	if !ok || !readable {
		c.store.log.Error("a session that is due cannot be read", "conn", name)
		return
	}
	fields := sessionFields(list)
	inc, ok := parseDecimal([]byte(fields["inc"]))
	if fields["state"] != "leaving" || !ok {
		return // gone: its retention is over, and the claim deleted it
	}
	d := &departure{conn: conn, inc: inc, claim: at, claimed: true}
	d.take(list)
	c.store.departures.begin(d)
}
