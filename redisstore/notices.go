package redisstore

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// Redis's notices of expired keys. Two kinds of our keys have a TTL, and both
// ring when it ends: the grace of a connection, and the lease of a node.
//
//	__keyevent@<db>__:expired ──▶ <p>:{c3f}:grace:<conn>   ──▶ claimer.ring
//	                          ──▶ <p>:{nodes}:lease:<stamp> ──▶ reaper.ring
//	                          ──▶ any other name: not ours
//
// A notice is a help and no more. It is made when Redis deletes the key, which
// is seconds late where it has many keys with a TTL; a link that breaks loses
// those of the time in between, and nobody is told. What must happen is in
// `due` (expiry.go).
//
// It is one channel and never a pattern: Redis would try each pattern on every
// message that anybody publishes. The subscription has a connection of its
// own, because everything that expires in this Redis comes through it.

// noticesQuiet is after what silence the link is asked whether it lives; a
// second one ends it.
const noticesQuiet = 2 * time.Second

// notices listens.
type notices struct {
	store  *Store
	client *redis.Client              // of one master: each tells of its own keys
	ring   func(conn presence.ConnID) // never blocks
	lost   func(stamp string)         // never blocks
}

// run listens until ctx ends, on one link after another.
func (n *notices) run(ctx context.Context) {
	pause := reconnectMin
	for ctx.Err() == nil {
		begin := time.Now()
		err := n.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		n.store.log.Debug("the link for notices of expired keys broke", "err", err)
		if pause = min(2*pause, reconnectMax); time.Since(begin) > reconnectMax {
			pause = reconnectMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// listen subscribes and tells what it hears, until the link breaks.
func (n *notices) listen(ctx context.Context) error {
	sub := n.client.Subscribe(ctx, "__keyevent@"+strconv.Itoa(n.client.Options().DB)+"__:expired")
	closed := context.AfterFunc(ctx, func() { _ = sub.Close() }) // wakes the reader
	defer func() {
		closed()
		_ = sub.Close() // a second close is an error, and harmless
	}()
	for asked := false; ; {
		msg, err := sub.ReceiveTimeout(ctx, noticesQuiet)
		var late net.Error
		switch {
		case err == nil:
			asked = false
		case asked || !errors.As(err, &late) || !late.Timeout():
			return err
		default:
			asked = true
			if err := sub.Ping(ctx); err != nil {
				return err
			}
		}
		if m, ok := msg.(*redis.Message); ok && err == nil {
			n.heard(m.Payload)
		}
	}
}

// heard tells whom an expired key concerns. Most names in a shared Redis are
// not ours: those cost two comparisons.
func (n *notices) heard(name string) {
	if conn, ok := n.store.keys.graceOf(name); ok {
		n.store.graces.over(conn)
		n.ring(conn)
	} else if stamp, ok := n.store.keys.leaseOf(name); ok {
		n.lost(stamp)
	}
}

// graceOf is the inverse of grace; ok is false for any other name.
func (k keys) graceOf(name string) (conn presence.ConnID, ok bool) {
	const kind = "}:grace:"
	rest, ok := strings.CutPrefix(name, k.prefix)
	if !ok || len(rest) != len(":{c3f")+len(kind)+2*len(conn) || rest[5:5+len(kind)] != kind {
		return conn, false
	}
	conn, ok = presence.ParseConnID(rest[5+len(kind):])
	return conn, ok && name == k.grace(conn)
}

// leaseOf is the inverse of lease; ok is false for any other name.
func (k keys) leaseOf(name string) (stamp string, ok bool) {
	return strings.CutPrefix(name, k.lease(""))
}
