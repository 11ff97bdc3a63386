package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Trouble that is made by commands, on any running server.

// FillMemory makes the server refuse whatever needs memory, as it does when
// maxmemory is reached.
func FillMemory(ctx context.Context, c *redis.Client) error {
	info, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(info, "used_memory:")
	used, err := strconv.Atoi(strings.TrimSpace(after[:strings.IndexByte(after, '\n')]))
	if err != nil {
		return fmt.Errorf("INFO memory: %w", err)
	}
	return c.ConfigSet(ctx, "maxmemory", strconv.Itoa(max(used/2, 1))).Err()
}

// FreeMemory ends [FillMemory].
func FreeMemory(ctx context.Context, c *redis.Client) error {
	return c.ConfigSet(ctx, "maxmemory", "0").Err()
}

// KillPubSub ends every connection that has a subscription, and returns how
// many there were.
func KillPubSub(ctx context.Context, c *redis.Client) (int64, error) {
	return c.ClientKillByFilter(ctx, "TYPE", "pubsub").Result()
}

// ForgetScripts empties the cache of scripts.
func ForgetScripts(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() }

// Notifications turns the events of expired keys on or off.
func Notifications(ctx context.Context, c *redis.Client, on bool) error {
	value := ""
	if on {
		value = "Ex"
	}
	return c.ConfigSet(ctx, "notify-keyspace-events", value).Err()
}
