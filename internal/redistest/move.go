package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// moveChunk is how many keys a MIGRATE takes.
const moveChunk = 50

// Move gives the slot of a key to another master while clients read and write,
// as redis-cli --cluster reshard does, and returns how many keys it had. With a
// pause before each key it has a part of them here and a part there for long, as
// a slot of many keys has.
//
//	to:   IMPORTING      from: MIGRATING     what is not there is asked for (ASK) at the other
//	from: MIGRATE keys, until there is none  some here, some there: TRYAGAIN
//	to, from, others: NODE                   MOVED
func (c *Cluster) Move(ctx context.Context, key string, to *Server, pause time.Duration) (moved int, err error) {
	from, err := c.Master(ctx, key)
	if err != nil || from == to {
		return 0, err
	}
	fromID, err := c.id(ctx, from)
	if err != nil {
		return 0, err
	}
	toID, err := c.id(ctx, to)
	if err != nil {
		return 0, err
	}
	source := from.Connect()
	defer source.Close()
	slot, err := source.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return 0, err
	}
	host, port, err := net.SplitHostPort(to.Addr())
	if err != nil {
		return 0, err
	}
	if err := errors.Join(
		say(ctx, to, "cluster", "setslot", slot, "importing", fromID),
		say(ctx, from, "cluster", "setslot", slot, "migrating", toID)); err != nil {
		return 0, err
	}
	chunk := moveChunk
	if pause > 0 {
		chunk = 1
	}
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return moved, ctx.Err()
		}
		keys, err := source.ClusterGetKeysInSlot(ctx, int(slot), chunk).Result()
		if err != nil {
			return moved, err
		}
		if len(keys) == 0 {
			break
		}
		migrate := []any{"migrate", host, port, "", 0, setupTime.Milliseconds(), "keys"}
		for _, k := range keys {
			migrate = append(migrate, k)
		}
		if err := source.Do(ctx, migrate...).Err(); err != nil {
			return moved, fmt.Errorf("move %v: %w", keys, err)
		}
		moved += len(keys)
	}
	// First who gets it, so that no moment comes in which it is nobody's.
	if err := errors.Join(
		say(ctx, to, "cluster", "setslot", slot, "node", toID),
		say(ctx, from, "cluster", "setslot", slot, "node", toID)); err != nil {
		return moved, err
	}
	masters, err := c.Masters(ctx)
	if err != nil {
		return moved, err
	}
	for _, m := range masters {
		if err := say(ctx, m, "cluster", "setslot", slot, "node", toID); err != nil {
			return moved, err
		}
	}
	return moved, nil
}
