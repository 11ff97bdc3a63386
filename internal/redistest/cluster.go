package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Cluster is three masters, each with a third of the slots, and as many
// replicas of each as were asked for. A master that is gone for 2 s loses its
// place to a replica.
type Cluster struct {
	Servers []*Server // the first three were the masters at the start, server i+3 a replica of server i%3
}

// slots are the parts of the three masters.
var slots = [3][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}}

// StartCluster runs a Cluster for this test alone; args are for every server.
// It blocks until all slots are served and all replicas follow (2 to 4 s).
func StartCluster(t testing.TB, replicas int, args ...string) *Cluster {
	t.Helper()
	c, err := LaunchCluster(t.Context(), replicas, args...)
	if err != nil {
		t.Fatalf("start a Redis Cluster for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Errorf("remove this test's Redis Cluster: %v", err)
		}
	})
	return c
}

// LaunchCluster is [StartCluster] for what is no test: the caller must call
// [Cluster.Remove].
func LaunchCluster(ctx context.Context, replicas int, args ...string) (*Cluster, error) {
	c := &Cluster{}
	if err := c.launch(ctx, replicas, args); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Cluster) launch(ctx context.Context, replicas int, args []string) error {
	for range len(slots) * (1 + replicas) {
		s, err := launch(member, append([]string{"--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0"}, args...)...)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
	}
	ids := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		client := s.Connect()
		defer client.Close()
		id, err := client.Do(ctx, "cluster", "myid").Text()
		if err != nil {
			return err
		}
		ids[i] = id
		// Each has an epoch of its own: they need not find out who wins.
		commands := [][]any{{"cluster", "set-config-epoch", i + 1}}
		if i < len(slots) {
			commands = append(commands, []any{"cluster", "addslotsrange", slots[i][0], slots[i][1]})
		}
		if i > 0 {
			commands = append(commands, []any{"cluster", "meet", "127.0.0.1", c.Servers[0].port, c.Servers[0].port + 1})
		}
		for _, command := range commands {
			if err := client.Do(ctx, command...).Err(); err != nil {
				return fmt.Errorf("%v: %w", command, err)
			}
		}
	}
	err := await(ctx, "the servers know each other", func(ctx context.Context) error {
		return c.everywhere(ctx, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(c.Servers)))
	})
	if err != nil {
		return err
	}
	for i, s := range c.Servers[len(slots):] {
		follow := func(ctx context.Context) error { return say(ctx, s, "cluster", "replicate", ids[i%len(slots)]) }
		if err := await(ctx, "the replica may follow", follow); err != nil {
			return err
		}
		linked := func(ctx context.Context) error {
			return says(ctx, s, "master_link_status:up", "info", "replication")
		}
		if err := await(ctx, "the replica follows", linked); err != nil {
			return err
		}
	}
	return await(ctx, "all slots are served", func(ctx context.Context) error {
		return c.everywhere(ctx, "cluster_state:ok\r\n")
	})
}

// everywhere is nil when each running server's CLUSTER INFO holds want.
func (c *Cluster) everywhere(ctx context.Context, want string) error {
	for _, s := range c.Servers {
		if s.PID() == 0 {
			continue
		}
		if err := says(ctx, s, want, "cluster", "info"); err != nil {
			return err
		}
	}
	return nil
}

// URL returns the addresses in the form of the setting redis.url.
func (c *Cluster) URL() string {
	var b strings.Builder
	b.WriteString("redis://" + c.Servers[0].Addr() + "/0")
	for i, s := range c.Servers[1:] {
		b.WriteString([]string{"?", "&"}[min(i, 1)] + "addr=" + s.Addr())
	}
	return b.String()
}

// Connect returns a client of the whole Cluster, which the caller closes.
func (c *Cluster) Connect() *redis.ClusterClient {
	o := &redis.ClusterOptions{Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: silent}
	for _, s := range c.Servers {
		o.Addrs = append(o.Addrs, s.Addr())
	}
	return redis.NewClusterClient(o)
}

// Master returns the running server that serves a key's slot, as itself says.
func (c *Cluster) Master(ctx context.Context, key string) (*Server, error) {
	err := errors.New("no server runs")
	for _, s := range c.Servers {
		if s.PID() == 0 {
			continue
		}
		if err = say(ctx, s, "exists", key); err == nil {
			if err = says(ctx, s, "role:master", "info", "replication"); err == nil {
				return s, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody serves %s: %w", key, err)
}

// Failover kills the master of a key's slot and waits until a replica has its
// place and all slots are served (3 to 5 s). The old one is back when its
// Begin is called, as a replica.
func (c *Cluster) Failover(ctx context.Context, key string) (*Server, error) {
	old, err := c.Master(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := old.End(syscall.SIGKILL); err != nil {
		return nil, err
	}
	var next *Server
	return next, await(ctx, "a replica serves "+key, func(ctx context.Context) error {
		if next, err = c.Master(ctx, key); err != nil {
			return err
		}
		return c.everywhere(ctx, "cluster_state:ok\r\n")
	})
}

// Remove kills all servers and deletes their folders.
func (c *Cluster) Remove() error {
	var errs []error
	for _, s := range c.Servers {
		errs = append(errs, s.Remove())
	}
	return errors.Join(errs...)
}

// say is nil when a server answers without an error.
func say(ctx context.Context, s *Server, command ...any) error {
	c := s.Connect()
	defer c.Close()
	return c.Do(ctx, command...).Err()
}
