package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"presencesets/auth"
)

// spareDescriptors is what a node needs besides its clients' sockets: Redis,
// the ports, files, and requests over plain HTTP.
const spareDescriptors = 512

// fill gives the settings that have no fixed default the one of this machine.
func (c *Config) fill() {
	if c.Node.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "node"
		}
		c.Node.ID = notInID.ReplaceAllString(host, "-")
		c.Node.ID = c.Node.ID[:min(len(c.Node.ID), 64)]
	}
	if c.Edge.Loops == 0 {
		c.Edge.Loops = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if c.Edge.MaxConnections == 0 {
		c.Edge.MaxConnections = max(1, descriptors()-spareDescriptors)
	}
	if c.Log.Format == "" {
		c.Log.Format = "json"
		if isTerminal(os.Stderr) {
			c.Log.Format = "text"
		}
	}
}

var (
	notInID  = regexp.MustCompile(`[^A-Za-z0-9._-]`)
	notInKey = regexp.MustCompile(`[{}\s\x00-\x1f]`)
)

// faults gathers what is wrong, a line each.
type faults struct {
	c    *Config
	list configErrors
}

// check notes a fault of a setting unless ok.
func (f *faults) check(ok bool, key, format string, args ...any) {
	if !ok {
		f.list = append(f.list, f.c.fault(key, fmt.Sprintf(format, args...)))
	}
}

// between checks a value's bounds, both allowed.
func between[T int | size | time.Duration](f *faults, key string, v, low, high T) {
	text := func(v T) string {
		if d, ok := any(v).(time.Duration); ok {
			return formatTime(d)
		}
		return fmt.Sprint(v)
	}
	f.check(v >= low && v <= high, key, "%s is not from %s to %s", text(v), text(low), text(high))
}

// validate returns every fault that a single value's form does not show.
func (c *Config) validate() configErrors {
	f := &faults{c: c}
	c.validatePorts(f)
	c.validateRedis(f)
	c.validateTimes(f)
	c.validateEdge(f)
	c.validateLimits(f)
	c.validateKeys(f)
	c.validateRest(f)
	return f.list
}

func (c *Config) validatePorts(f *faults) {
	f.check(isAddress(c.Listen.Client), "listen.client", "%q is no address; want host:port or :port", c.Listen.Client)
	f.check(isAddress(c.Listen.Admin), "listen.admin", "%q is no address; want host:port or :port", c.Listen.Admin)
	f.check(c.Admin.Token != "" || isLoopback(c.Listen.Admin) || !isAddress(c.Listen.Admin), "admin.token",
		"it must be set, because listen.admin (%s) is not on loopback", c.Listen.Admin)
	for _, origin := range c.Listen.Origins {
		u, err := url.Parse(origin)
		f.check(origin == "*" || err == nil && u.Scheme != "" && u.Host != "" && u.Path == "", "listen.origins",
			"%q is no origin; want such as https://app.example.com, or *", origin)
	}
}

func (c *Config) validateTimes(f *faults) {
	between(f, "lease.ttl", c.Lease.TTL, 500*time.Millisecond, 5*time.Minute)
	between(f, "lease.beat", c.Lease.Beat, 100*time.Millisecond, c.Lease.TTL/2)
	between(f, "sessions.grace", c.Sessions.Grace, auth.MinGrace, time.Hour)
	between(f, "sessions.retention", c.Sessions.Retention, 0, 24*time.Hour)
	between(f, "rooms.replay_events", c.Rooms.ReplayEvents, 1, 1<<20)
	between(f, "rooms.replay_bytes", c.Rooms.ReplayBytes, 1<<10, 1<<30)
	between(f, "drain.delay", c.Drain.Delay, 0, time.Hour)
	between(f, "drain.window", c.Drain.Window, 0, time.Hour)
	between(f, "drain.grace", c.Drain.Grace, auth.MinGrace, time.Hour)
	between(f, "ping.interval", c.Ping.Interval, time.Second, time.Hour)
	between(f, "ping.timeout", c.Ping.Timeout, time.Second, time.Hour)
}

func (c *Config) validateEdge(f *faults) {
	between(f, "edge.loops", c.Edge.Loops, 1, 1024)
	between(f, "edge.handshake_timeout", c.Edge.HandshakeTimeout, time.Second, 5*time.Minute)
	between(f, "edge.heads", c.Edge.Heads, 1, 1<<20)
	between(f, "edge.queue_bytes", c.Edge.QueueBytes, 4<<10, 1<<30)
	between(f, "edge.queue_age", c.Edge.QueueAge, time.Second, 10*time.Minute)
	f.check(c.Edge.MaxConnections+spareDescriptors <= descriptors() || c.sources["edge.max_connections"] == "", "edge.max_connections",
		"%d needs %d descriptors; the limit of this process is %d (ulimit -n, LimitNOFILE)",
		c.Edge.MaxConnections, c.Edge.MaxConnections+spareDescriptors, descriptors())
}

func (c *Config) validateLimits(f *faults) {
	l := &c.Limits
	between(f, "limits.frame", l.Frame, 2<<10, 1<<30)
	between(f, "limits.message", l.Message, 2<<10, l.Frame)
	between(f, "limits.data", l.Data, 1, min(64<<10, l.Message-1<<10))
	between(f, "limits.reply", l.Reply, 4<<10, 1<<30)
	between(f, "limits.depth", l.Depth, 4, 1000)
	between(f, "limits.room_name", l.RoomName, 1, 255)
	between(f, "limits.client_id", l.ClientID, 1, 1024)
	between(f, "limits.event_name", l.EventName, 1, 255)
	between(f, "limits.rooms", l.Rooms, 0, 1<<20)
	between(f, "limits.members", l.Members, 0, 1<<24)
	between(f, "limits.subscriptions", l.Subscriptions, 0, 1<<20)
	between(f, "limits.in_flight", l.InFlight, 1, 1<<16)
}

func (c *Config) validateKeys(f *faults) {
	if _, err := auth.NewKeyring(c.Auth.Keys); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			f.check(false, "auth.keys", "%s", line)
		}
	}
}

func (c *Config) validateRest(f *faults) {
	f.check(len(c.Node.ID) <= 64 && c.Node.ID != "" && !notInID.MatchString(c.Node.ID), "node.id",
		"%q; want 1 to 64 of A-Z a-z 0-9 . _ -", c.Node.ID)
	f.check(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level",
		"%q; want debug, info, warn or error", c.Log.Level)
	f.check(slices.Contains([]string{"json", "text"}, c.Log.Format), "log.format", "%q; want json or text", c.Log.Format)
	f.check(!c.Demo || len(c.Auth.Keys) > 0, "demo", "the page needs a key to connect with; want auth.keys")
	for _, entry := range c.DemoNodes {
		_, err := demoNode(entry)
		f.check(err == nil, "demo_nodes", "%v", err)
	}
}

// isAddress says whether something can be listened on: host:port or :port.
func isAddress(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	n, perr := strconv.Atoi(port)
	return err == nil && perr == nil && n >= 0 && n <= 65535
}

// isLoopback says whether an address to listen on is reached from this
// machine only.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
