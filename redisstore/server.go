package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// What this Redis is and can do, looked at once, at the start, and said: a
// server that cannot work is refused with what to change, one that works
// worse than it could is a warning and a gauge.

// minMajor is the first major version with sharded pub/sub and with scripts
// that may say what they need (#!lua). Valkey calls itself redis_version 7.2.
const minMajor = 7

// startTime bounds the start of a store.
const startTime = 5 * time.Second

// quiet turns go-redis's own log off, once for the process: it writes to
// stderr past our log, a line for each connection that cannot be made. What
// it has to say is in the errors that it returns.
var quiet = sync.OnceFunc(func() { redis.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// clientName is what CLIENT LIST shows.
func clientName(node, role string) string { return strings.TrimSuffix("presence-"+node+"-"+role, "-") }

// newClient connects with a name that CLIENT LIST shows, and by our rules
// (connect.go). opts say only to whom; they may be of another client, which has
// put its own meaning of -1 into them.
func newClient(opts *redis.Options, node, role string, size int) *redis.Client {
	o := *opts
	o.ClientName, o.PoolSize = clientName(node, role), size
	o.Protocol, o.DisableIdentity, o.MaintNotificationsConfig = protocol, true, noNotifications
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled = maxRetries, dialerRetries, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = opLife, opLife, opLife, opLife
	o.PipelinePoolSize = pipelinePool
	return redis.NewClient(&o)
}

// inspect refuses servers that cannot work.
func (s *Store) inspect(ctx context.Context) error {
	for _, m := range s.masters.now.Load().all {
		info, err := readInfo(ctx, m.control)
		if err != nil {
			return fmt.Errorf("ask Redis at %s what it is: %w", m.name, err)
		}
		version := info["redis_version"]
		major, _, _ := strings.Cut(version, ".")
		if n, err := strconv.Atoi(major); err != nil || n < minMajor {
			return fmt.Errorf("redis at %s has version %q; want %d.0 or later (sharded pub/sub)", m.name, version, minMajor)
		}
		if role := info["role"]; role != "master" {
			return fmt.Errorf("redis at %s is a replica (%s); name its master", m.name, role)
		}
		if err := loadScripts(ctx, m.control); err != nil {
			return err
		}
		if err := s.prepare(ctx, m, info); err != nil {
			return err
		}
		m.know(identity(info))
		s.log.Info("Redis is there", "master", m.name, "version", version)
	}
	return nil
}

// prepare does what each start of a server needs, ours or not.
func (s *Store) prepare(ctx context.Context, m *master, info map[string]string) error {
	if m == s.masters.now.Load().nodes {
		if err := s.checkSchema(ctx); err != nil {
			return err
		}
	}
	s.checkPolicy(m, info)
	s.checkNotifications(ctx, m)
	return nil
}

// checkSchema refuses keys that a newer program wrote.
func (s *Store) checkSchema(ctx context.Context) error {
	key := s.keys.schema()
	if err := s.control().SetNX(ctx, key, schemaVersion, 0).Err(); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	text, err := s.control().Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s holds %q; want the version of the keys, a number", key, text)
	}
	if n > schemaVersion {
		return fmt.Errorf("the keys under %s have version %d, written by a newer program; this one knows %d", s.keys.prefix, n, schemaVersion)
	}
	return nil
}

// checkPolicy warns of a Redis that may evict what is ours.
func (s *Store) checkPolicy(m *master, info map[string]string) {
	policy := info["maxmemory_policy"]
	safe := policy == "noeviction" || info["maxmemory"] == "0"
	s.metrics.MaxmemoryPolicySafe.WithLabelValues(m.name).Set(bit(safe))
	if !safe {
		s.log.Warn("Redis may evict rooms, whose members then vanish without a leave; set maxmemory-policy noeviction",
			"master", m.name, "reason", policy)
	}
}

// checkNotifications turns on the notices that ring when a grace ends, where
// that is wanted and allowed. Without them it is found by polling.
func (s *Store) checkNotifications(ctx context.Context, m *master) {
	const setting = "notify-keyspace-events"
	have := func() (string, bool) {
		values, err := m.control.ConfigGet(ctx, setting).Result()
		flags := values[setting]
		return flags, err == nil && strings.Contains(flags, "E") && strings.ContainsAny(flags, "xA")
	}
	flags, on := have()
	if !on && s.opts.ManageNotifications {
		// A refusal shows in the second look.
		_ = m.control.ConfigSet(ctx, setting, flags+"Ex").Err()
		_, on = have()
	}
	s.metrics.NotificationsEnabled.WithLabelValues(m.name).Set(bit(on))
	if !on {
		s.log.Warn("Redis sends no notices of expired keys, so graces are found by polling, up to 250 ms later; set notify-keyspace-events Ex",
			"master", m.name)
	}
}

// readInfo asks a server what it is.
func readInfo(ctx context.Context, client *redis.Client) (map[string]string, error) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	return parseInfo(text), nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}
