package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelMaster is the name under which the sentinels know the master.
const SentinelMaster = "presence"

// Sentinel is one master, one replica and three sentinels that make the
// replica a master about one second after the master went.
type Sentinel struct {
	Servers   [2]*Server // the first was the master at the start
	Sentinels [3]*Server
}

// StartSentinel runs them for this test alone; args are for the two servers.
// It blocks until everybody knows everybody (2 to 3 s).
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	s, err := LaunchSentinel(t.Context(), args...)
	if err != nil {
		t.Fatalf("start Redis with Sentinel for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Errorf("remove this test's Redis: %v", err)
		}
	})
	return s
}

// LaunchSentinel is [StartSentinel] for what is no test: the caller must call
// [Sentinel.Remove].
func LaunchSentinel(ctx context.Context, args ...string) (*Sentinel, error) {
	s := &Sentinel{}
	err := s.launch(ctx, args)
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *Sentinel) launch(ctx context.Context, args []string) error {
	var err error
	if s.Servers[0], err = launch(alone, args...); err != nil {
		return err
	}
	port := strconv.Itoa(s.Servers[0].port)
	if s.Servers[1], err = launch(alone, append([]string{"--replicaof", "127.0.0.1 " + port}, args...)...); err != nil {
		return err
	}
	replicated := func(ctx context.Context) error {
		return says(ctx, s.Servers[1], "master_link_status:up", "info", "replication")
	}
	if err := await(ctx, "the replica follows", replicated); err != nil {
		return err
	}
	for i := range s.Sentinels {
		s.Sentinels[i], err = launch(sentinel,
			"sentinel monitor "+SentinelMaster+" 127.0.0.1 "+port+" 2",
			"sentinel down-after-milliseconds "+SentinelMaster+" 1000",
			"sentinel failover-timeout "+SentinelMaster+" 5000",
			"sentinel parallel-syncs "+SentinelMaster+" 1")
		if err != nil {
			return err
		}
	}
	return await(ctx, "the sentinels know each other and the replica", s.complete)
}

// complete is nil when a failover could begin.
func (s *Sentinel) complete(ctx context.Context) error {
	for _, one := range s.Sentinels {
		c := one.Connect()
		seen, err := c.Do(ctx, "sentinel", "master", SentinelMaster).StringSlice()
		c.Close()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(seen); i += 2 {
			if want := map[string]string{"num-other-sentinels": "2", "num-slaves": "1", "flags": "master"}[seen[i]]; want != "" && seen[i+1] != want {
				return fmt.Errorf("%s is %s, want %s", seen[i], seen[i+1], want)
			}
		}
	}
	return nil
}

// URL returns the address of the three in the form of the setting redis.url.
func (s *Sentinel) URL() string {
	return "redis://" + s.Sentinels[0].Addr() + "/0?master_name=" + SentinelMaster +
		"&addr=" + s.Sentinels[1].Addr() + "&addr=" + s.Sentinels[2].Addr()
}

// Master returns the server that the sentinels call the master.
func (s *Sentinel) Master(ctx context.Context) (*Server, error) {
	err := errors.New("no sentinel runs")
	for _, one := range s.Sentinels {
		if one.PID() == 0 {
			continue
		}
		c := one.Connect()
		var addr []string
		addr, err = c.Do(ctx, "sentinel", "get-master-addr-by-name", SentinelMaster).StringSlice()
		c.Close()
		if err != nil {
			continue
		}
		for _, m := range s.Servers {
			if len(addr) == 2 && net.JoinHostPort(addr[0], addr[1]) == m.Addr() {
				return m, nil
			}
		}
		err = fmt.Errorf("the sentinels name %v, none of ours", addr)
	}
	return nil, err
}

// Failover kills the master and waits until the other one has its place
// (about 2 s). The old one is back when its Begin is called, as a replica.
func (s *Sentinel) Failover(ctx context.Context) (*Server, error) {
	old, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	if err := old.End(syscall.SIGKILL); err != nil {
		return nil, err
	}
	var next *Server
	return next, await(ctx, "the sentinels agree on another master", func(ctx context.Context) error {
		if next, err = s.Master(ctx); err != nil {
			return err
		}
		if next == old {
			return errors.New("it is still the old one")
		}
		return says(ctx, next, "role:master", "info", "replication")
	})
}

// Remove kills all five and deletes their folders.
func (s *Sentinel) Remove() error {
	var errs []error
	for _, one := range append(s.Sentinels[:], s.Servers[:]...) {
		if one != nil {
			errs = append(errs, one.Remove())
		}
	}
	return errors.Join(errs...)
}

// setupTime is how long servers may take to find each other, and to agree on
// another master: an order more than they do.
const setupTime = 30 * time.Second

// await asks until is has no objection.
func await(ctx context.Context, what string, is func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := is(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s: %w", setupTime, what, err)
		}
	}
}

// says is nil when the text that a server answers holds want.
func says(ctx context.Context, s *Server, want string, command ...any) error {
	c := s.Connect()
	defer c.Close()
	return clientSays(ctx, c, want, command...)
}

func clientSays(ctx context.Context, c *redis.Client, want string, command ...any) error {
	got, err := c.Do(ctx, command...).Text()
	if err == nil && !strings.Contains(got, want) {
		err = fmt.Errorf("%v has no %q: %s", command, want, got)
	}
	return err
}
