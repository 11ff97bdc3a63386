package redisstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/metrics"
)

// Options says which Redis, and who we are in it.
type Options struct {
	URL    string // redis://, rediss:// or unix://, in go-redis's form
	Prefix string // begins every key; no brace, no space

	NodeID  string // this node; unique among running nodes
	Version string // of the program, for the registry
	Addr    string // where this node is reached, for the registry

	LeaseTTL  time.Duration // how long a node may write after its last beat
	LeaseBeat time.Duration // how often the lease is renewed
	ClockSkew time.Duration // how far the masters' clocks may differ; 0 with one master
	Retention time.Duration // how long a session can be resumed after its memberships ended

	ManageNotifications bool // add Ex to notify-keyspace-events where it is missing

	Log     *slog.Logger
	Metrics *metrics.Metrics
}

// Store is the state of all rooms and connections, in Redis.
type Store struct {
	// set once
	opts    Options
	keys    keys
	log     *slog.Logger
	metrics *metrics.Metrics
	client  *redis.Client
}

// readRoom reads a room as a whole; it blocks for a round trip.
func (s *Store) readRoom(ctx context.Context, app, room string) (presence.Snapshot, error) {
	return presence.Snapshot{}, presence.Errorf(presence.CodeUnavailable, "not connected")
}

// mark moves a room's revision up to floor when it is below it, and returns
// the revision after it; 0 when there is no room.
func (s *Store) mark(ctx context.Context, app, room string, floor presence.Revision) (presence.Revision, error) {
	return 0, presence.Errorf(presence.CodeUnavailable, "not connected")
}
