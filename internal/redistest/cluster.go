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
	return LaunchClusterBehind(ctx, nil, replicas, args...)
}

// LaunchClusterBehind is [LaunchCluster] with a front before each server.
func LaunchClusterBehind(ctx context.Context, front Front, replicas int, args ...string) (*Cluster, error) {
	c := &Cluster{}
	if err := c.launch(ctx, front, replicas, args); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Cluster) launch(ctx context.Context, front Front, replicas int, args []string) error {
	for range len(slots) * (1 + replicas) {
		s, err := launch(member, append([]string{"--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0"}, args...)...)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
		if err := s.behind(ctx, front); err != nil {
			return err
		}
	}
	ids := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		var err error
		if ids[i], err = c.id(ctx, s); err != nil {
			return err
		}
		// Each has an epoch of its own: they need not find out who wins.
		commands := [][]any{{"cluster", "set-config-epoch", i + 1}}
		if i < len(slots) {
			commands = append(commands, []any{"cluster", "addslotsrange", slots[i][0], slots[i][1]})
		}
		if i > 0 {
			commands = append(commands, []any{"cluster", "meet", "127.0.0.1", c.Servers[0].port, c.Servers[0].port + 1})
		}
		for _, command := range commands {
			if err := say(ctx, s, command...); err != nil {
				return fmt.Errorf("%v: %w", command, err)
			}
		}
	}
	err := await(ctx, "the servers know each other", func(ctx context.Context) error {
		return c.everywhere(ctx, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(c.Servers)), nil)
	})
	if err != nil {
		return err
	}
	for i, s := range c.Servers[len(slots):] {
		follow := func(ctx context.Context) error { return say(ctx, s, "cluster", "replicate", ids[i%len(slots)]) }
		if err := await(ctx, "the replica may follow", follow); err != nil {
			return err
		}
	}
	return c.Whole(ctx)
}

// Whole waits until all servers run, all slots are served, every replica
// follows its master and every server says of every other where it is seen.
func (c *Cluster) Whole(ctx context.Context) error {
	return await(ctx, "all slots are served and all replicas follow", func(ctx context.Context) error {
		for _, s := range c.Servers {
			if s.PID() == 0 {
				return fmt.Errorf("%s does not run", s.Addr())
			}
			client := s.Connect()
			role, err := client.Info(ctx, "replication").Result()
			nodes, err2 := client.ClusterNodes(ctx).Result()
			if err := errors.Join(err, err2, client.Close()); err != nil {
				return err
			}
			if strings.Contains(role, "role:slave") && !strings.Contains(role, "master_link_status:up") {
				return fmt.Errorf("%s does not follow its master", s.Addr())
			}
			if strings.Contains(nodes, "fail") || strings.Contains(nodes, "handshake") {
				return fmt.Errorf("%s misses another: %s", s.Addr(), nodes)
			}
			for _, other := range c.Servers {
				if !strings.Contains(nodes, " "+other.Seen()+"@") {
					return fmt.Errorf("%s does not find %s: %s", s.Addr(), other.Seen(), nodes)
				}
			}
		}
		return c.everywhere(ctx, "cluster_state:ok\r\n", nil)
	})
}

// everywhere is nil when the CLUSTER INFO of each running server but one holds
// want.
func (c *Cluster) everywhere(ctx context.Context, want string, but *Server) error {
	for _, s := range c.Servers {
		if s.PID() == 0 || s == but {
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
	b.WriteString("redis://" + c.Servers[0].Seen() + "/0")
	for i, s := range c.Servers[1:] {
		b.WriteString([]string{"?", "&"}[min(i, 1)] + "addr=" + s.Seen())
	}
	return b.String()
}

// Connect returns a client of the whole Cluster, which the caller closes.
func (c *Cluster) Connect() *redis.ClusterClient {
	o := &redis.ClusterOptions{Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: silent}
	for _, s := range c.Servers {
		o.Addrs = append(o.Addrs, s.Seen())
	}
	return redis.NewClusterClient(o)
}

// Master returns the running server that serves a key's slot, as itself says.
func (c *Cluster) Master(ctx context.Context, key string) (*Server, error) {
	return c.master(ctx, key, nil)
}

func (c *Cluster) master(ctx context.Context, key string, but *Server) (*Server, error) {
	err := errors.New("no server runs")
	for _, s := range c.Servers {
		if s.PID() == 0 || s == but {
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

// Masters returns the running servers that serve slots.
func (c *Cluster) Masters(ctx context.Context) (list []*Server, err error) {
	for _, s := range c.Servers {
		if s.PID() == 0 {
			continue
		}
		client := s.Connect()
		role, err := client.Info(ctx, "replication").Result()
		if err := errors.Join(err, client.Close()); err != nil {
			return nil, err
		}
		if strings.Contains(role, "role:master") {
			list = append(list, s)
		}
	}
	return list, nil
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
	return c.AwaitOther(ctx, key, old)
}

// HandOver tells a replica of the master of a key's slot to take its place
// (CLUSTER FAILOVER) and waits until it has. Nothing is lost: the master stops
// to write before the replica begins.
func (c *Cluster) HandOver(ctx context.Context, key string) (*Server, error) {
	old, err := c.Master(ctx, key)
	if err != nil {
		return nil, err
	}
	replica := func(ctx context.Context) error {
		id, err := c.id(ctx, old)
		if err != nil {
			return err
		}
		for _, s := range c.Servers {
			if s.PID() != 0 && s != old && says(ctx, s, "myself,slave "+id, "cluster", "nodes") == nil {
				return say(ctx, s, "cluster", "failover")
			}
		}
		return errors.New("it has no replica")
	}
	if err := await(ctx, "a replica begins to take over", replica); err != nil {
		return nil, err
	}
	return c.AwaitOther(ctx, key, old)
}

// AwaitOther waits until another server than old serves a key's slot and all
// slots are served, and returns it.
func (c *Cluster) AwaitOther(ctx context.Context, key string, old *Server) (next *Server, err error) {
	err = await(ctx, "another server serves "+key, func(ctx context.Context) (err error) {
		if next, err = c.master(ctx, key, old); err != nil {
			return err
		}
		return c.everywhere(ctx, "cluster_state:ok\r\n", old)
	})
	return next, err
}

func (c *Cluster) id(ctx context.Context, s *Server) (string, error) {
	client := s.Connect()
	defer client.Close()
	return client.Do(ctx, "cluster", "myid").Text()
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
