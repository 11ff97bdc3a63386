package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What this Redis is and can do, looked at once, at the start, and said: a
// server that cannot work is refused with what to change, one that works
// worse than it could is a warning and a gauge.

// minMajor is the first major version with sharded pub/sub and with scripts
// that may say what they need (#!lua). Valkey calls itself redis_version 7.2.
const minMajor = 7

// startTime bounds the start of a store.
const startTime = 5 * time.Second

// clientOptions reads the setting redis.url and sets everything by which an
// operation ends within opLife.
func clientOptions(o Options) (*redis.Options, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("redis.url is not a URL; want redis://host:port/db") // err would print the password
	}
	if u.Query().Has("master_name") {
		return nil, errors.New("redis.url asks for Sentinel (master_name), which is not supported yet; name the master itself")
	}
	if u.Query().Has("addr") {
		return nil, errors.New("redis.url asks for a Cluster (addr), which is not supported yet; name one server")
	}
	opts, err := redis.ParseURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("redis.url: %s", strings.ReplaceAll(err.Error(), o.URL, "the URL"))
	}
	opts.Protocol = 2 // what is pushed in protocol 3 is of no use here
	opts.DisableIdentity = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// Nothing is sent twice behind our back: whether a write may be repeated
	// is for settle.go to say. And nothing waits longer than its context.
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	opts.ContextTimeoutEnabled = true
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = opLife, opLife, opLife, opLife
	opts.PipelinePoolSize = -1 // pipelines are all we send; one pool is enough
	return opts, nil
}

// quiet turns go-redis's own log off, once for the process: it writes to
// stderr past our log, a line for each connection that cannot be made. What
// it has to say is in the errors that it returns.
var quiet = sync.OnceFunc(func() { redis.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// newClient connects with a name that CLIENT LIST shows.
func newClient(opts *redis.Options, node, role string, size int) *redis.Client {
	o := *opts
	o.ClientName = strings.TrimSuffix("presence-"+node+"-"+role, "-")
	o.PoolSize = size
	return redis.NewClient(&o)
}

// inspect refuses a server that cannot work.
func (s *Store) inspect(ctx context.Context) error {
	info, err := readInfo(ctx, s.control)
	if err != nil {
		return fmt.Errorf("ask Redis at %s what it is: %w", s.master, err)
	}
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < minMajor {
		return fmt.Errorf("redis at %s has version %q; want %d.0 or later (sharded pub/sub)", s.master, version, minMajor)
	}
	switch mode := info["redis_mode"]; mode {
	case "standalone":
	case "cluster":
		return fmt.Errorf("redis at %s is a Cluster, which is not supported yet; use a single server", s.master)
	case "sentinel":
		return fmt.Errorf("%s is a Sentinel, which is not supported yet; name the master itself", s.master)
	default:
		return fmt.Errorf("redis at %s runs in mode %q; want a single server", s.master, mode)
	}
	if role := info["role"]; role != "master" {
		return fmt.Errorf("redis at %s is a replica (%s); name its master", s.master, role)
	}
	if err := s.prepare(ctx, info); err != nil {
		return err
	}
	s.lease.know(identity(info))
	s.log.Info("Redis is there", "master", s.master, "version", version)
	return nil
}

// prepare does what each start of a server needs, ours or not.
func (s *Store) prepare(ctx context.Context, info map[string]string) error {
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	s.checkPolicy(info)
	s.checkNotifications(ctx)
	return nil
}

// checkSchema refuses keys that a newer program wrote.
func (s *Store) checkSchema(ctx context.Context) error {
	key := s.keys.schema()
	if err := s.control.SetNX(ctx, key, schemaVersion, 0).Err(); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	text, err := s.control.Get(ctx, key).Result()
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
func (s *Store) checkPolicy(info map[string]string) {
	policy := info["maxmemory_policy"]
	safe := policy == "noeviction" || info["maxmemory"] == "0"
	s.metrics.MaxmemoryPolicySafe.WithLabelValues(s.master).Set(bit(safe))
	if !safe {
		s.log.Warn("Redis may evict rooms, whose members then vanish without a leave; set maxmemory-policy noeviction",
			"master", s.master, "reason", policy)
	}
}

// checkNotifications turns on the notices that ring when a grace ends, where
// that is wanted and allowed. Without them it is found by polling.
func (s *Store) checkNotifications(ctx context.Context) {
	const setting = "notify-keyspace-events"
	have := func() (string, bool) {
		values, err := s.control.ConfigGet(ctx, setting).Result()
		flags := values[setting]
		return flags, err == nil && strings.Contains(flags, "E") && strings.ContainsAny(flags, "xA")
	}
	flags, on := have()
	if !on && s.opts.ManageNotifications {
		// A refusal shows in the second look.
		_ = s.control.ConfigSet(ctx, setting, flags+"Ex").Err()
		_, on = have()
	}
	s.metrics.NotificationsEnabled.WithLabelValues(s.master).Set(bit(on))
	if !on {
		s.log.Warn("Redis sends no notices of expired keys, so graces are found by polling, up to 250 ms later; set notify-keyspace-events Ex",
			"master", s.master)
	}
}

// readInfo asks for sections of INFO; none: the default ones.
func readInfo(ctx context.Context, client *redis.Client, sections ...string) (map[string]string, error) {
	text, err := client.Info(ctx, sections...).Result()
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
