package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Who may drain. A node that drains sends its clients to the others, so there
// must be others; and they go one after the other, so that no client is sent
// from node to node.
//
//	BeginDrain ──▶ another node ready? ──▶ SET draining NX ──▶ the registry says so
//	                      └─ wait ◀────────────┘ held by another node
//
// The lock is freed by Close, or ends by itself after Options.DrainTime, when
// this node has died in between.

// drainPoll is how often it is looked whether this node may drain.
const drainPoll = 250 * time.Millisecond

// ErrAlone says that there is no other node.
var ErrAlone = errors.New("no other node is alive that could take the connections")

// BeginDrain blocks until this node may drain: another one takes connections,
// and no other drains. From then on the registry says that this one drains,
// until Close. It returns an error at once where no other node is alive, and
// when ctx ends first; the error says what was waited for. The caller decides
// whether to go anyway. A second call returns at once when the first one
// succeeded.
func (s *Store) BeginDrain(ctx context.Context) error {
	for {
		wait, err := s.tryDrain(ctx)
		if wait == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("begin to drain: %w (%w)", wait, context.Cause(ctx))
		case <-time.After(drainPoll):
		}
	}
}

// tryDrain is one look: wait says why to look again, err why not to.
func (s *Store) tryDrain(ctx context.Context) (wait, err error) {
	if s.draining.Load() {
		return nil, nil
	}
	lineup, err := s.readLineup(ctx)
	if err != nil {
		return fmt.Errorf("look for other nodes: %w", err), nil
	}
	if len(lineup.others) == 0 {
		return nil, fmt.Errorf("begin to drain: %w", ErrAlone)
	}
	if !lineup.ready() {
		return fmt.Errorf("none of %d other nodes is ready to take the connections", len(lineup.others)), nil
	}
	key := s.keys.draining()
	switch err := s.control().SetArgs(ctx, key, lineup.stamp, redis.SetArgs{Mode: "NX", TTL: s.opts.DrainTime}).Err(); {
	case err == nil:
	case !errors.Is(err, redis.Nil):
		return fmt.Errorf("take %s: %w", key, err), nil
	default:
		// An earlier try may have taken it, unanswered.
		if holder := s.control().Get(ctx, key).Val(); holder != lineup.stamp {
			return fmt.Errorf("node %s drains; one at a time", holder), nil
		}
	}
	s.draining.Store(true)
	s.lease.hurry() // the registry says it from the next beat on
	return nil, nil
}

// ready reports whether another node takes connections.
func (l *lineup) ready() bool {
	for i := range l.others {
		if l.others[i].ready() {
			return true
		}
	}
	return false
}

// hurry asks for a beat at once. It never blocks.
func (l *lease) hurry() {
	select {
	case l.soon <- struct{}{}:
	default:
	}
}
