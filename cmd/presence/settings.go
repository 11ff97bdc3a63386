package main

import "strings"

// setting is one line of the list of settings: the only place that says how a
// key is called, what it is when nobody sets it, and what it is for. The
// flags, the environment, `presence config` and docs/reference/config.md are
// made from it.
type setting struct {
	key    string // as in the file; --redis-url and PRESENCE_REDIS_URL follow from it
	to     any    // pointer into a Config
	def    string // the default; "" may stand for one that is found at start, see defDoc
	defDoc string // how the reference page tells a default that is not def
	help   string // what it is, and what gets worse in each direction
	secret bool   // never shown
}

func (s *setting) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.key) }

func (s *setting) env() string {
	return "PRESENCE_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// text returns the value as it may be shown.
func (s *setting) text() string {
	switch {
	case s.secret && formatValue(s.to) != "":
		return "***"
	case s.key == "redis.url":
		return redactURL(formatValue(s.to))
	}
	return formatValue(s.to)
}

// settings binds the list to a Config. Adding a setting: a field of Config, a
// line here, a check in validate.go where it has bounds, its use in serve.go,
// and the reference page (go generate ./cmd/presence).
func (c *Config) settings() []setting {
	return []setting{
		{
			key: "listen.client", to: &c.Listen.Client, def: ":9000",
			help: "Address of the client port: websocket, health and, with `demo`, the page. Without a host it listens on every network of the machine.",
		},
		{
			key: "listen.admin", to: &c.Listen.Admin, def: "127.0.0.1:9090",
			help: "Address of the admin port: metrics, health with reasons, profiles. It tells much about the node: off loopback it needs `admin.token`.",
		},
		{
			key: "listen.origins", to: &c.Listen.Origins, def: "*",
			help: "Web pages that may connect: a list of origins such as `https://app.example.com`; `*` is every page. Programs that send no `Origin` are not held back by it.",
		},
		{
			key: "admin.token", to: &c.Admin.Token, secret: true, defDoc: "none",
			help: "Asked for on the admin port as `Authorization: Bearer …`, but by its health paths. Must be set when that port is not on loopback.",
		},
		{
			key: "node.id", to: &c.Node.ID, defDoc: "host name",
			help: "This node's name: 1 to 64 of `A-Z a-z 0-9 . _ -`. Two running nodes with one name push each other out of Redis; two on one host need two.",
		},

		{
			key: "redis.url", to: &c.Redis.URL, def: "redis://127.0.0.1:6379/0",
			help: "Where Redis is: `redis://`, `rediss://` (TLS) or `unix://`. User, password and database number are as go-redis reads them. `?master_name=` means Sentinel, and further Sentinels or nodes of a Cluster are `&addr=host:port`: [the forms](../how-to/redis-high-availability.md).",
		},
		{
			key: "redis.mode", to: &c.Redis.Mode, def: "auto",
			help: "What kind of Redis that is: `single`, `sentinel`, `cluster`, or `auto`: by the URL, and by what the server says it is. A kind that is named is required: a node does not start on another.",
		},
		{
			key: "redis.prefix", to: &c.Redis.Prefix, def: "presence",
			help: "Begins every key, so that a Redis can be shared. No brace, no space. Nodes with different prefixes do not see each other.",
		},
		{
			key: "redis.clock_skew", to: &c.Redis.ClockSkew, def: "500ms",
			help: "How far the clocks of a Cluster's masters may differ; less than half of `lease.ttl`, the same on all nodes. With one master it counts as 0. Smaller than they do differ: a node may still write when others have ended it, and leave members that nobody ends. Larger: the members of a crashed node stay visible longer.",
		},
		{
			key: "redis.manage_notifications", to: &c.Redis.ManageNotifications, def: "true",
			help: "Add `Ex` to Redis's `notify-keyspace-events` where it is missing. Without it, and where Redis forbids it, some leaves come up to 250 ms later.",
		},

		{
			key: "lease.ttl", to: &c.Lease.TTL, def: "6s",
			help: "How long a node may write after its last beat. Shorter: a slow network or a pause stops a healthy node. Longer: the members of a crashed node stay visible longer.",
		},
		{
			key: "lease.beat", to: &c.Lease.Beat, def: "2s",
			help: "How often a node renews its lease; at most half of `lease.ttl`. Shorter: more work for Redis. Longer: fewer attempts before the lease ends.",
		},
		{
			key: "sessions.grace", to: &c.Sessions.Grace, def: "10s",
			help: "How long a lost socket keeps its memberships; at least 5s, an app may set its own. Back within it, on any node, nobody sees a leave or a join. Shorter: leaves and joins at each hiccup of a network. Longer: people who are gone stay visible.",
		},
		{
			key: "sessions.retention", to: &c.Sessions.Retention, def: "135s",
			help: "How long rooms and subscriptions of a lost socket can be taken up again; clients try for 135 s. Shorter: who comes back late must join and subscribe anew. Longer: more memory in Redis for those who do not.",
		},

		{
			key: "rooms.replay_events", to: &c.Rooms.ReplayEvents, def: "1000",
			help: "Recent events that a node keeps of a room for clients that come back. Fewer: after a drop in a busy room they get a summary from a snapshot. More: more memory a busy room.",
		},
		{
			key: "rooms.replay_bytes", to: &c.Rooms.ReplayBytes, def: "256KiB",
			help: "Most bytes of those events, a room. Smaller and larger: as `rooms.replay_events`.",
		},

		{
			key: "drain.delay", to: &c.Drain.Delay, def: "5s",
			help: "From SIGTERM, when the node says that it is not ready, until it takes no new sockets. Shorter than the balancer's check interval times its failures: new clients are refused. Longer: a slower deploy.",
		},
		{
			key: "drain.window", to: &c.Drain.Window, def: "30s",
			help: "Time over which a node that stops sends its clients to the others. Shorter: a herd at those. Longer: a slower deploy. A second signal skips it.",
		},
		{
			key: "drain.grace", to: &c.Drain.Grace, def: "20s",
			help: "How long memberships of a client that was sent away wait for it, at least; the same on all nodes. Shorter: leaves in a deploy. Longer: who really goes in that moment stays visible longer.",
		},

		{
			key: "ping.interval", to: &c.Ping.Interval, def: "25s",
			help: "How often an idle socket is pinged. Longer than a proxy's idle timeout: the proxy cuts idle sockets. Shorter: more traffic, and phones use more power.",
		},
		{
			key: "ping.timeout", to: &c.Ping.Timeout, def: "10s",
			help: "How long a ping may stay without an answer before the socket counts as lost. Shorter: slow phones are cut. Longer: lost sockets are found later.",
		},
		{
			key: "edge.loops", to: &c.Edge.Loops, defDoc: "one less than the processors, at least 1",
			help: "Event loops, each on one processor. Fewer: sockets share less CPU. More than processors: they disturb each other and the links to Redis.",
		},
		{
			key: "edge.max_connections", to: &c.Edge.MaxConnections, defDoc: "descriptors less 512",
			help: "Sockets of this node; above, a new one gets 503. More than the descriptors (`ulimit -n`, raised to its hard limit at start) less 512 refuses to start.",
		},
		{
			key: "edge.handshake_timeout", to: &c.Edge.HandshakeTimeout, def: "10s",
			help: "Time from accept to a whole request head. Longer: clients that say nothing hold descriptors longer. Shorter: slow networks cannot connect.",
		},
		{
			key: "edge.heads", to: &c.Edge.Heads, def: "4096",
			help: "Handshakes in progress on one event loop; above, it accepts no more until some are done. Larger: a herd takes more memory. Smaller: it waits longer in the kernel.",
		},
		{
			key: "edge.queue_bytes", to: &c.Edge.QueueBytes, def: "64KiB",
			help: "Most bytes that wait for one client to read them; above, the client is closed as a slow consumer. Larger: more memory a slow client. Smaller: bursts close healthy ones.",
		},
		{
			key: "edge.queue_age", to: &c.Edge.QueueAge, def: "10s",
			help: "Longest time that a client takes no byte of what waits for it; then it is closed as a slow consumer. Longer: memory is held for the dead. Shorter: a phone in a tunnel is cut.",
		},

		{
			key: "limits.frame", to: &c.Limits.Frame, def: "256KiB",
			help: "Largest websocket message; above, the socket is closed (1009). At least `limits.message`.",
		},
		{
			key: "limits.message", to: &c.Limits.Message, def: "64KiB",
			help: "Largest request; above, it is refused with PayloadTooLargeError and the socket stays.",
		},
		{
			key: "limits.data", to: &c.Limits.Data, def: "16KiB",
			help: "Largest `data` of a member; at most 64KiB, and 1KiB under `limits.message`. Every subscriber receives it with each update, and Redis keeps it.",
		},
		{
			key: "limits.reply", to: &c.Limits.Reply, def: "4MiB",
			help: "Largest list of members in one answer; a room above it is refused with PayloadTooLargeError unless the request has a limit.",
		},
		{
			key: "limits.depth", to: &c.Limits.Depth, def: "32",
			help: "Deepest nesting of JSON in a request.",
		},
		{
			key: "limits.room_name", to: &c.Limits.RoomName, def: "255",
			help: "Longest room name, in bytes. It is part of each key and of each event.",
		},
		{
			key: "limits.client_id", to: &c.Limits.ClientID, def: "128",
			help: "Longest clientId, in bytes. It is kept with each membership.",
		},
		{
			key: "limits.event_name", to: &c.Limits.EventName, def: "255",
			help: "Longest event name, in bytes.",
		},
		{
			key: "limits.rooms", to: &c.Limits.Rooms, def: "100",
			help: "Rooms of one connection; 0: no limit. A departure takes a script for each.",
		},
		{
			key: "limits.members", to: &c.Limits.Members, def: "50000",
			help: "Members of one room; 0: no limit. Each join is sent to every subscriber: the work grows with the square.",
		},
		{
			key: "limits.subscriptions", to: &c.Limits.Subscriptions, def: "100",
			help: "Event names that one connection subscribes in one room; 0: no limit.",
		},
		{
			key: "limits.requests", to: &c.Limits.Requests, def: "30/5s",
			help: "Requests of one connection that others pay for (room create and join, presence join and update, publish): so many at once, and so many in the time; 0: no limit. Above: RateLimitError.",
		},
		{
			key: "limits.other_requests", to: &c.Limits.OtherRequests, def: "300/5s",
			help: "The same for the other requests. Leaves and unsubscribes are never limited.",
		},
		{
			key: "limits.in_flight", to: &c.Limits.InFlight, def: "32",
			help: "Requests of one connection without an answer; above, its socket is not read until some are answered.",
		},

		{
			key: "auth.file", to: &c.Auth.File, defDoc: "none",
			help: "File of apps and keys. Its form is below. Read at start, when it changes, and on SIGHUP; one with a fault changes nothing and is told in the log.",
		},
		{
			key: "auth.keys", to: &c.Auth.Keys, secret: true, defDoc: "none",
			help: "API keys in full, `appId.keyId:secret`, every permission each. For a start; `auth.file` can do more.",
		},

		{
			key: "log.level", to: &c.Log.Level, def: "info",
			help: "`debug`, `info`, `warn` or `error`. debug tells each connection's story and is too much for a busy node.",
		},
		{
			key: "log.format", to: &c.Log.Format, defDoc: "`text` on a terminal, else `json`",
			help: "`json` or `text`. The log goes to standard error.",
		},
		{
			key: "demo", to: &c.Demo, def: "false",
			help: "Serve the demo page at `/` of the client port. **Whoever opens it reads the first of `auth.keys`.**",
		},
		{
			key: "demo_nodes", to: &c.DemoNodes, defDoc: "none",
			help: "The nodes that the page names and links to: a list of `id=url`, such as `n2=http://localhost:9001`, or `n2=:9001` for another port of the host that the page came from.",
		},
	}
}
