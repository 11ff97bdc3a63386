package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// retire gives the lease up by consent, so that nobody has to wait for its
// end, and buries the stamp when no connection is listed under it; left is how
// many are. It may be repeated. It blocks for three round trips.
func (l *lease) retire(ctx context.Context) (left int64, err error) {
	stamp := l.grant.Load().stamp
	_, err = call(ctx, l.client, l.scripts.retire,
		[]string{l.keys.lease(stamp), l.keys.registry(), l.keys.nodesDue(), l.keys.reaping()},
		stamp, 0, claimTime.Milliseconds())
	if err != nil {
		return 0, fmt.Errorf("retire %s: %w", stamp, err)
	}
	pipe := l.client.Pipeline()
	indexes := make([]*redis.IntCmd, shards)
	for shard := range indexes {
		indexes[shard] = pipe.HLen(ctx, l.keys.node(shard, stamp))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("look for connections of %s: %w", stamp, err)
	}
	for _, index := range indexes {
		left += index.Val()
	}
	if left > 0 {
		return left, nil
	}
	if _, err := call(ctx, l.client, l.scripts.bury, []string{l.keys.reaping(), l.keys.nodesDue()}, stamp); err != nil {
		return 0, fmt.Errorf("bury %s: %w", stamp, err)
	}
	return 0, nil
}

// retireWithin is retire, repeated for as long as an operation may take while
// Redis does not answer.
func (l *lease) retireWithin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	for {
		left, err := l.retire(ctx)
		switch {
		case left > 0:
			return fmt.Errorf("%d connections of %s are left for the others to end", left, l.grant.Load().stamp)
		case err == nil || fateOf(err) != fateLost:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(beatRetry):
		}
	}
}
