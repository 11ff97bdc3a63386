package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"presencesets/auth"
	"presencesets/metrics"
	"presencesets/node"
	"presencesets/redisstore"
)

// closeTimeout bounds how long the store may take to hand its last departures
// to Redis after the node has stopped. What is not done by then is done by
// others, when the lease has ended.
const closeTimeout = 10 * time.Second

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until SIGINT or SIGTERM; a second one ends it at once.

SIGHUP reads the file of apps and keys again. All settings may also come from
the environment (PRESENCE_REDIS_URL) or from a file (--config); presence config
shows them.`,
		Example: "  PRESENCE_AUTH_KEYS=$(presence token --new-key) presence serve\n  presence serve --config presence.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd.Flags(), nil)
			if err != nil {
				return err
			}
			keys, err := c.keyring()
			if err != nil {
				return err
			}
			if c.Auth.File == "" {
				signal.Ignore(syscall.SIGHUP) // nothing to read again; by default it would end the node
			}
			log, flush := newLog(c, cmd.ErrOrStderr())
			defer flush()
			return fail(c.serve(cmd.Context(), keys, log, nil))
		},
	}
	addConfigFlags(cmd.Flags())
	return cmd
}

// serve runs a node until ctx ends. It reads as the list of what a node is:
// each part is started after those it needs and stopped before them. serving,
// when not nil, is called once, with the ports open.
func (c *Config) serve(ctx context.Context, keys *auth.Keyring, log *slog.Logger, serving func(*node.Node)) (err error) {
	c.warn(keys, log)
	if _, err := memlimit.Set(); err != nil { // GOMEMLIMIT: 90 % of the container's bound
		log.Warn("memory limit not known", "err", err)
	}
	m := metrics.New(metrics.BuildInfo{Version: programVersion(), Go: runtime.Version()})
	m.AuthKeys.Set(float64(keys.Len()))

	store, err := redisstore.Open(ctx, c.storeOptions(log, m))
	if err != nil {
		if ctx.Err() != nil {
			return nil // a signal came while Redis was being asked
		}
		return fmt.Errorf("open the store at %s: %w", redactURL(c.Redis.URL), err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if cerr := store.Close(closing); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close the store: %w", cerr))
		}
		log.Info("stopped")
	}()

	n, err := node.New(c.nodeOptions(store, keys, log, m))
	if err != nil {
		return err
	}
	log.Info("serving", "version", programVersion(), "listen_client", n.ClientAddr().String(), "listen_admin", n.AdminAddr().String())
	if serving != nil {
		serving(n)
	}

	terminated := catchTerminate(ctx)
	g, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	g.Go(func() error { defer stop(); return n.Run(running) })
	g.Go(func() error {
		select {
		case <-terminated:
			c.drain(running, store, n, log)
			stop()
		case <-running.Done():
		}
		return nil
	})
	if c.Auth.File != "" {
		g.Go(func() error { newKeyFile(c.Auth.File, keys, m, log).run(running); return nil })
	}
	err = g.Wait()
	log.Info("every socket is closed")
	return err
}

// drain sends the clients to other nodes, where there are some. It blocks until
// that is done, or ctx ends.
func (c *Config) drain(ctx context.Context, store *redisstore.Store, n *node.Node, log *slog.Logger) {
	begin, cancel := context.WithTimeout(ctx, c.drainTime())
	defer cancel()
	log.Info("draining")
	switch err := store.BeginDrain(begin); {
	case errors.Is(err, redisstore.ErrAlone):
		log.Warn("no other node is there to take the clients: closing at once")
		return
	case err != nil:
		log.Warn("draining although it is not this node's turn", "err", err)
	}
	n.Drain(ctx)
}

// drainTime is the longest that a drain takes.
func (c *Config) drainTime() time.Duration { return c.Drain.Delay + c.Drain.Window + 10*time.Second }

func (c *Config) storeOptions(log *slog.Logger, m *metrics.Metrics) redisstore.Options {
	return redisstore.Options{
		URL:                 c.Redis.URL,
		Mode:                c.Redis.Mode,
		Prefix:              c.Redis.Prefix,
		NodeID:              c.Node.ID,
		Version:             programVersion(),
		Addr:                c.address(),
		LeaseTTL:            c.Lease.TTL,
		LeaseBeat:           c.Lease.Beat,
		ClockSkew:           c.Redis.ClockSkew,
		Retention:           c.Sessions.Retention,
		Grace:               c.Sessions.Grace,
		ReplayEvents:        c.Rooms.ReplayEvents,
		ReplayBytes:         int(c.Rooms.ReplayBytes),
		DrainGrace:          c.Drain.Grace,
		DrainTime:           c.drainTime(),
		ManageNotifications: c.Redis.ManageNotifications,
		Log:                 log,
		Metrics:             m,
	}
}

func (c *Config) nodeOptions(store node.Store, keys *auth.Keyring, log *slog.Logger, m *metrics.Metrics) node.Options {
	l := &c.Limits
	return node.Options{
		ClientAddr:       c.Listen.Client,
		AdminAddr:        c.Listen.Admin,
		AdminToken:       c.Admin.Token,
		NodeID:           c.Node.ID,
		Loops:            c.Edge.Loops,
		MaxConnections:   c.Edge.MaxConnections,
		Heads:            c.Edge.Heads,
		HandshakeTimeout: c.Edge.HandshakeTimeout,
		PingInterval:     c.Ping.Interval,
		PingTimeout:      c.Ping.Timeout,
		QueueBytes:       int(c.Edge.QueueBytes),
		QueueAge:         c.Edge.QueueAge,
		Grace:            c.Sessions.Grace,
		DrainDelay:       c.Drain.Delay,
		DrainWindow:      c.Drain.Window,
		DrainGrace:       c.Drain.Grace,
		Origins:          c.Listen.Origins,
		Limits: node.Limits{
			Frame:         int(l.Frame),
			Message:       int(l.Message),
			Data:          int(l.Data),
			Reply:         int(l.Reply),
			Depth:         l.Depth,
			RoomName:      l.RoomName,
			ClientID:      l.ClientID,
			EventName:     l.EventName,
			Rooms:         l.Rooms,
			Members:       l.Members,
			Subscriptions: l.Subscriptions,
			InFlight:      l.InFlight,
			Requests:      node.Rate{Burst: l.Requests.burst, Per: l.Requests.per},
			OtherRequests: node.Rate{Burst: l.OtherRequests.burst, Per: l.OtherRequests.per},
		},
		Store:   store,
		Keyring: keys,
		Metrics: m,
		Log:     log,
		Demo:    c.demoPage(),
	}
}

// address is how this node's client port is reached, as far as the settings
// tell: for people who look at the list of nodes, not for other nodes.
func (c *Config) address() string {
	host, port, err := net.SplitHostPort(c.Listen.Client)
	if err != nil || host != "" {
		return c.Listen.Client
	}
	if host, err = os.Hostname(); err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// warn tells what is allowed but seldom wanted.
func (c *Config) warn(keys *auth.Keyring, log *slog.Logger) {
	for _, name := range c.unknown {
		log.Warn("environment variable is no setting: presence config lists them", "setting", name)
	}
	if _, err := keys.Authenticate(devKey); err == nil && !isLoopback(c.Listen.Client) {
		log.Warn("the development key is accepted beyond this machine: everyone knows it", "listen_client", c.Listen.Client)
	}
	if c.Demo && !isDevKey(c.Auth.Keys[0]) {
		log.Warn("the demo page shows an API key to whoever opens it", "key", c.publicKey())
	}
}

// newLog makes the log of a node: JSON for machines, or text for a person.
// flush writes what is still on its way; it must be called once, at the end.
func newLog(c *Config, out io.Writer) (log *slog.Logger, flush func()) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		panic(err) // validate knows the words
	}
	file, isFile := out.(*os.File)
	lines := newLogWriter(out)
	out = lines
	var handler slog.Handler
	if c.Log.Format == "json" {
		handler = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level})
	} else {
		colour := isFile && isTerminal(file) && os.Getenv("NO_COLOR") == ""
		handler = tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !colour})
	}
	return slog.New(handler).With("node", c.Node.ID), lines.close
}
