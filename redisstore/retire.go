package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The end of a node by its own will. What it did not depart or detach is
// orphaned as if it had died at this moment, but for the drain's grace and as
// a timeout; then nothing tells of the stamp any more:
//
//	retire ──▶ orphan × 256 shards ──▶ bury ──▶ the drain's lock is free
//
// Where a node ends in the middle of it, the others go on (reaper.go). Nobody
// counts it as lost.

// retire gives the lease up by consent, so that nobody has to wait for its
// end, and ends what is left of the stamp. It may be repeated. It blocks for
// three round trips, and more where connections are left.
func (l *lease) retire(ctx context.Context) error {
	stamp := l.grant.Load().stamp
	reply, err := l.store.call(ctx, l.scripts.retire,
		[]string{l.keys.lease(stamp), l.keys.registry(), l.keys.nodesDue(), l.keys.reaping()},
		stamp, 0, claimTime.Milliseconds())
	if err != nil {
		return fmt.Errorf("retire %s: %w", stamp, err)
	}
	end, _ := reply.(int64)
	if end == 0 {
		return nil // nobody knows this stamp: Redis came back empty, or it is buried
	}
	c := corpse{stamp: stamp, end: end, condemned: end}
	left, err := l.store.reaper.left(ctx, c)
	if err != nil {
		return err
	}
	if err := l.store.reaper.empty(ctx, c, left); err != nil {
		return err
	}
	return l.store.reaper.burial(ctx, c)
}

// retireWithin is retire, repeated for as long as an operation may take while
// Redis does not answer. Then it frees the drain's lock.
func (l *lease) retireWithin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	for {
		err := l.retire(ctx)
		if err == nil {
			return l.store.endDrain(ctx)
		}
		if fateOf(err) != fateLost {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(beatRetry):
		}
	}
}

// endDrain lets the next node drain, if it is this one that may now.
func (s *Store) endDrain(ctx context.Context) error {
	key, stamp := s.keys.draining(), s.Stamp()
	err := s.control().Watch(ctx, func(tx *redis.Tx) error {
		holder, err := tx.Get(ctx, key).Result()
		if err != nil || holder != stamp {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Del(ctx, key).Err() })
		return err
	}, key)
	if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, redis.TxFailedErr) {
		return nil // free, or somebody else's since
	}
	return fmt.Errorf("free %s: %w", key, err)
}
