package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/netfault"
	"presencesets/internal/redistest"
)

// Modes of Redis, as bits: a cell says where it makes sense.
const (
	single mode = 1 << iota
	sentinel
	cluster
	every = single | sentinel | cluster
)

type mode uint8

// modes are the words of --redis.
var modes = map[string]mode{"single": single, "sentinel": sentinel, "cluster": cluster}

// deployment is the Redis of a field: one server; a master with a replica and
// three sentinels; or three masters with a replica each. Before each server that
// holds data is a proxy, whose address is the one that is announced, so that
// every link of a node can be cut wherever a failover or a slot sends it. Only
// the bus of a Cluster and the sentinels are reached directly.
type deployment struct {
	// set once
	servers  []*redistest.Server
	wires    map[*redistest.Server]*netfault.Proxy
	url      string                // for nodes
	keys     redis.UniversalClient // as an operator looks: always at the right master
	one      *redistest.Server     // single
	sentinel *redistest.Sentinel
	cluster  *redistest.Cluster
}

// deploy starts the Redis of a mode; what it returns is to be removed, after an
// error too.
func deploy(ctx context.Context, m mode) (d *deployment, err error) {
	d = &deployment{wires: map[*redistest.Server]*netfault.Proxy{}}
	args := []string{
		"--appendonly", "yes", "--appendfsync", "everysec",
		"--hash-max-listpack-value", "512", "--hash-max-listpack-entries", "128",
		"--client-output-buffer-limit", "pubsub 256mb 64mb 60",
	}
	switch m {
	case single:
		if d.one, err = redistest.Launch(args...); err != nil {
			return d, err
		}
		addr, err := d.front(d.one)
		if err != nil {
			return d, err
		}
		d.servers, d.url, d.keys = []*redistest.Server{d.one}, "redis://"+addr+"/0", d.one.Connect()
	case sentinel:
		if d.sentinel, err = redistest.LaunchSentinelBehind(ctx, d.front, args...); err != nil {
			return d, err
		}
		d.servers, d.url, d.keys = d.sentinel.Servers[:], d.sentinel.URL(), d.sentinel.Connect()
	case cluster:
		if d.cluster, err = redistest.LaunchClusterBehind(ctx, d.front, 1, args...); err != nil {
			return d, err
		}
		d.servers, d.url, d.keys = d.cluster.Servers, d.cluster.URL(), d.cluster.Connect()
	default:
		return d, errors.New("there is no such Redis: want single, sentinel or cluster")
	}
	return d, nil
}

func (d *deployment) front(s *redistest.Server) (string, error) {
	p, err := netfault.Listen(s.Addr())
	if err != nil {
		return "", err
	}
	d.wires[s] = p
	return p.Addr(), nil
}

// remove ends everything.
func (d *deployment) remove() error {
	var errs []error
	if d.keys != nil {
		errs = append(errs, d.keys.Close())
	}
	switch {
	case d.one != nil:
		errs = append(errs, d.one.Remove())
	case d.sentinel != nil:
		errs = append(errs, d.sentinel.Remove())
	case d.cluster != nil:
		errs = append(errs, d.cluster.Remove())
	}
	for _, p := range d.wires {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// masters are the servers that take writes now.
func (d *deployment) masters(ctx context.Context) ([]*redistest.Server, error) {
	switch {
	case d.sentinel != nil:
		m, err := d.sentinel.Master(ctx)
		return []*redistest.Server{m}, err
	case d.cluster != nil:
		return d.cluster.Masters(ctx)
	}
	return []*redistest.Server{d.one}, nil
}

// each calls do with a client of every master.
func (d *deployment) each(ctx context.Context, do func(*redis.Client) error) error {
	list, err := d.masters(ctx)
	for _, m := range list {
		if err == nil {
			c := m.Connect()
			err = errors.Join(do(c), c.Close())
		}
	}
	return err
}

// master is the one that has a key.
func (d *deployment) master(ctx context.Context, key string) (*redistest.Server, error) {
	if d.cluster != nil {
		return d.cluster.Master(ctx, key)
	}
	list, err := d.masters(ctx)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// awaitOther waits until another server than old serves the key.
func (d *deployment) awaitOther(ctx context.Context, key string, old *redistest.Server) (*redistest.Server, error) {
	if d.cluster != nil {
		return d.cluster.AwaitOther(ctx, key, old)
	}
	return d.sentinel.AwaitOther(ctx, old)
}

// handOver has a replica take the place of the key's master by command.
func (d *deployment) handOver(ctx context.Context, key string) (*redistest.Server, error) {
	if d.cluster != nil {
		return d.cluster.HandOver(ctx, key)
	}
	return d.sentinel.HandOver(ctx)
}

// whole waits until every server runs and has its place.
func (d *deployment) whole(ctx context.Context) error {
	switch {
	case d.sentinel != nil:
		return d.sentinel.Whole(ctx)
	case d.cluster != nil:
		return d.cluster.Whole(ctx)
	}
	return d.keys.Ping(ctx).Err()
}

// restart kills every server that holds data, and after a while begins them
// again; wipe: with nothing.
func (d *deployment) restart(ctx context.Context, wipe bool, between func() error) error {
	for _, s := range d.servers {
		if err := s.End(syscall.SIGKILL); err != nil {
			return err
		}
		if wipe {
			if err := s.Wipe(); err != nil {
				return err
			}
		}
	}
	if err := between(); err != nil {
		return err
	}
	for _, s := range d.servers {
		if err := s.Begin(); err != nil {
			return err
		}
	}
	return d.whole(ctx)
}

// cut makes the links of processes to some servers silent, and those that they
// open meanwhile, until release.
func (d *deployment) cut(pids []int, servers ...*redistest.Server) error {
	match, err := dialledBy(pids...)
	if err != nil {
		return err
	}
	n := 0
	for _, s := range servers {
		n += d.wires[s].Cut(match)
	}
	if n == 0 {
		return fmt.Errorf("processes %v have no link to cut", pids)
	}
	return nil
}

// reset ends the links of a process to all servers.
func (d *deployment) reset(pid int) error {
	match, err := dialledBy(pid)
	if err != nil {
		return err
	}
	for _, w := range d.wires {
		w.Reset(match)
	}
	return nil
}

func (d *deployment) release() {
	for _, w := range d.wires {
		w.Release()
	}
}
