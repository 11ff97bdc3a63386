package redistest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelMaster is the name under which the sentinels know the master.
const SentinelMaster = "presence"

// Sentinel is one master, one replica and three sentinels that make the
// replica a master two to three seconds after the master went.
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
	return LaunchSentinelBehind(ctx, nil, args...)
}

// LaunchSentinelBehind is [LaunchSentinel] with a front before each of the two
// servers.
func LaunchSentinelBehind(ctx context.Context, front Front, args ...string) (*Sentinel, error) {
	s := &Sentinel{}
	err := s.launch(ctx, front, args)
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *Sentinel) launch(ctx context.Context, front Front, args []string) error {
	for i := range s.Servers {
		var err error
		if s.Servers[i], err = launch(alone, args...); err != nil {
			return err
		}
		if err := s.Servers[i].behind(ctx, front); err != nil {
			return err
		}
	}
	_, port, err := net.SplitHostPort(s.Servers[0].Seen())
	if err != nil {
		return err
	}
	replica := s.Servers[1] // it announces itself when it begins to follow
	if err := say(ctx, replica, "replicaof", "127.0.0.1", port); err != nil {
		return err
	}
	replica.args = append(replica.args, "--replicaof", "127.0.0.1 "+port)
	replicated := func(ctx context.Context) error {
		return says(ctx, replica, "master_link_status:up", "info", "replication")
	}
	if err := await(ctx, "the replica follows", replicated); err != nil {
		return err
	}
	// A sentinel first asks a master that is new to it after one second: to give
	// it up after the same second would begin another failover.
	for i := range s.Sentinels {
		s.Sentinels[i], err = launch(sentinel,
			"sentinel monitor "+SentinelMaster+" 127.0.0.1 "+port+" 2",
			"sentinel down-after-milliseconds "+SentinelMaster+" 1500",
			"sentinel failover-timeout "+SentinelMaster+" 5000",
			"sentinel parallel-syncs "+SentinelMaster+" 1")
		if err != nil {
			return err
		}
	}
	return s.Whole(ctx)
}

// Whole waits until all five run and know each other, and one server follows
// the other: a failover could begin. A server that is back after a failover
// takes itself for the master until the sentinels tell it (10 to 20 s).
func (s *Sentinel) Whole(ctx context.Context) error {
	return await(ctx, "the sentinels know each other and the replica follows", s.complete)
}

func (s *Sentinel) complete(ctx context.Context) error {
	master, err := s.Master(ctx)
	if err != nil {
		return err
	}
	for _, one := range s.Servers {
		want := "master_link_status:up"
		if one == master {
			want = "connected_slaves:1"
		}
		if err := says(ctx, one, want, "info", "replication"); err != nil {
			return err
		}
	}
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

// Connect returns a client of whoever is the master, which the caller closes.
func (s *Sentinel) Connect() *redis.Client {
	o := &redis.FailoverOptions{MasterName: SentinelMaster, Protocol: 2, DisableIdentity: true}
	for _, one := range s.Sentinels {
		o.SentinelAddrs = append(o.SentinelAddrs, one.Addr())
	}
	return redis.NewFailoverClient(o)
}

// Master returns the server that all sentinels that run call the master. One of
// them knows of a failover first, the others two seconds later.
func (s *Sentinel) Master(ctx context.Context) (*Server, error) {
	var named *Server
	for _, one := range s.Sentinels {
		if one.PID() == 0 {
			continue
		}
		c := one.Connect()
		addr, err := c.Do(ctx, "sentinel", "get-master-addr-by-name", SentinelMaster).StringSlice()
		if err := errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(s.Servers[:], func(m *Server) bool { return net.JoinHostPort(addr[0], addr[1]) == m.Seen() })
		if i < 0 {
			return nil, fmt.Errorf("a sentinel names %v, none of ours", addr)
		}
		if named != nil && named != s.Servers[i] {
			return nil, fmt.Errorf("the sentinels name %s and %s", named.Seen(), s.Servers[i].Seen())
		}
		named = s.Servers[i]
	}
	if named == nil {
		return nil, errors.New("no sentinel runs")
	}
	return named, nil
}

// Failover kills the master and waits until the other one has its place
// (about 3 s). The old one is back when its Begin is called, as a replica.
func (s *Sentinel) Failover(ctx context.Context) (*Server, error) {
	old, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	if err := old.End(syscall.SIGKILL); err != nil {
		return nil, err
	}
	return s.AwaitOther(ctx, old)
}

// HandOver tells a sentinel to make the replica the master (SENTINEL FAILOVER)
// and waits until all of them say so (3 s). What is written to the old master
// from when the replica is one is lost: nobody tells it for ten seconds.
func (s *Sentinel) HandOver(ctx context.Context) (*Server, error) {
	old, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	return s.awaitOther(ctx, old, func(ctx context.Context) error {
		return say(ctx, s.Sentinels[0], "sentinel", "failover", SentinelMaster)
	})
}

// AwaitOther waits until the sentinels name another master than old, and
// returns it.
func (s *Sentinel) AwaitOther(ctx context.Context, old *Server) (*Server, error) {
	return s.awaitOther(ctx, old, func(context.Context) error { return errors.New("it is still the old one") })
}

// awaitOther calls again as long as all name the old one: a failover by command
// may begin later, and may be given up.
func (s *Sentinel) awaitOther(ctx context.Context, old *Server, again func(context.Context) error) (next *Server, err error) {
	err = await(ctx, "the sentinels agree on another master", func(ctx context.Context) (err error) {
		if next, err = s.Master(ctx); err != nil {
			return err
		}
		if next == old {
			return cmp.Or(again(ctx), errors.New("the failover has begun"))
		}
		return says(ctx, next, "role:master", "info", "replication")
	})
	return next, err
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
