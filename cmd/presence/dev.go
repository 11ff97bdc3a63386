package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"presencesets/auth"
	"presencesets/node"
)

func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a node with its own Redis and the demo page, to try it out",
		Long: `Run a node, a redis-server of its own and the demo page, until Ctrl-C.

It needs a redis-server: the one that PRESENCE_REDIS names, else that of the
PATH. With --redis-url it uses the Redis there and starts none. Everything is
on loopback and nothing is kept.`,
		Example: "  presence dev\n  presence dev --listen-client 127.0.0.1:9100 --listen-admin 127.0.0.1:9190",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadDev(cmd)
			if err != nil {
				return err
			}
			keys, err := c.keyring()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // the terminal was closed
			defer stop()
			return fail(c.dev(ctx, cmd, keys))
		},
	}
	addConfigFlags(cmd.Flags())
	return cmd
}

// loadDev reads the settings with the defaults of `presence dev`. The
// development key stands in only where neither keys nor a file are given.
func loadDev(cmd *cobra.Command) (*Config, error) {
	defaults := map[string]string{"listen.client": "127.0.0.1:9000", "node.id": "dev"}
	c, err := load(cmd.Flags(), defaults)
	if err != nil || c.Auth.File != "" && len(c.Auth.Keys) == 0 {
		return c, err
	}
	defaults["demo"] = "true"
	defaults["auth.keys"] = devKey
	return load(cmd.Flags(), defaults)
}

// dev runs Redis around the node: first up, last down.
func (c *Config) dev(ctx context.Context, cmd *cobra.Command, keys *auth.Keyring) error {
	var state string // how to look into Redis; of Sentinel and Cluster no one address shows all
	if u, err := url.Parse(c.Redis.URL); err == nil && slices.Contains([]string{redisAuto, redisSingle}, kindOfRedis(c.Redis.Mode, u)) {
		state = "redis-cli -u " + redactURL(c.Redis.URL)
	}
	if c.sources["redis.url"] == "" {
		redis, err := startRedis()
		if err != nil {
			return err
		}
		defer redis.stop()
		c.Redis.URL, c.Redis.Mode = redis.url(), redisSingle
		state = "redis-cli -s " + redis.socket()

		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			select {
			case <-redis.exited:
				cancel(redis.failure())
			case <-ctx.Done():
			}
		}()
	}
	log, flush := newLog(c, cmd.ErrOrStderr())
	defer flush()
	err := c.serve(ctx, keys, log, func(n *node.Node) {
		c.banner(cmd.OutOrStdout(), n, state)
	})
	if lost, ok := context.Cause(ctx).(redisEnded); ok {
		return lost
	}
	return err
}

// banner says what to do next.
func (c *Config) banner(out io.Writer, n *node.Node, state string) {
	client := browserAddress(n.ClientAddr())
	var b strings.Builder
	b.WriteString("\n")
	if c.Demo {
		fmt.Fprintf(&b, "  The page     http://%s    open it twice, and see each other\n", client)
	}
	fmt.Fprintf(&b, "  Websocket    ws://%s/core\n", client)
	switch {
	case len(c.Auth.Keys) == 0:
		fmt.Fprintf(&b, "  API keys     in %s\n", c.Auth.File)
	case isDevKey(c.Auth.Keys[0]):
		fmt.Fprintf(&b, "  API key      %s    (for development: everyone knows it)\n", devKey)
	default:
		fmt.Fprintf(&b, "  API key      %s:***\n", c.publicKey())
	}
	fmt.Fprintf(&b, "  Metrics      http://%s/metrics\n", browserAddress(n.AdminAddr()))
	if state != "" {
		fmt.Fprintf(&b, "  The state    %s --scan --pattern '%s:*'\n", state, c.Redis.Prefix)
	}
	b.WriteString("\n  Ctrl-C stops all of it.\n\n")
	_, _ = io.WriteString(out, b.String()) // who closed the output wants no banner
}

// browserAddress is a bound address as one types it on this machine.
func browserAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() || tcp.IP.IsLoopback() {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}
