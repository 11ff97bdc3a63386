// Package metrics holds every collector of a node, once: its name, its help
// and its labels. The parts of the node count by the fields of [Metrics]; only
// this package and cmd know the client library.
//
// The help of a metric says what a change of it means, because that is what
// someone reads at night. Label values come from closed sets in code and never
// name a room, a client or a connection; `master` is the address of a Redis
// primary and `loop` the number of an event loop.
//
// Adding a metric: a field here with its name and help, a line in
// testdata/names.golden and on docs/reference/metrics.md (go generate
// ./metrics writes both). What an event
// loop counts is not here but in [LoopStats]: plain numbers, that the loop
// owns, read when somebody scrapes.
package metrics

import (
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is all that a node counts. Its methods and fields are safe for
// concurrent use. WithLabelValues costs a hash and a lock: code on a hot path
// asks for its child once and keeps it.
type Metrics struct {
	registry *prometheus.Registry
	loops    *loopCollector
	entries  []Entry

	// The edge: sockets and requests.

	ConnectionsAccepted prometheus.Counter
	HandshakeFailures   *prometheus.CounterVec // reason
	Disconnects         *prometheus.CounterVec // reason: [DisconnectReasons]
	SlowConsumers       prometheus.Counter
	Panics              prometheus.Counter
	LimitHits           *prometheus.CounterVec   // limit: the name of the setting, "frame", "queue_bytes"
	Operations          *prometheus.CounterVec   // op, result: "ok" or a code of the table of errors
	OperationDuration   *prometheus.HistogramVec // op; seconds from the frame's arrival to its acknowledgement
	DeliveryLag         prometheus.Histogram     // seconds from Redis's time in the event to the socket write

	// Presence: what the store changed.

	EventsPublished  *prometheus.CounterVec   // event: join, update, leave, message; reason: of a leave, else ""
	DepartureSeconds *prometheus.HistogramVec // reason; seconds from the cause to the leave
	Reaped           *prometheus.CounterVec   // by: expiry, sweep, node
	Resumes          *prometheus.CounterVec   // result: ok, away, new, denied, late, error
	SessionsLive     prometheus.Gauge         // connections that this node holds in Redis
	SessionsGrace    prometheus.Gauge         // connections that were lost on this node and may still be resumed
	Reclaims         *prometheus.CounterVec   // result: held, asserted, taken, gone, error
	Replays          *prometheus.CounterVec   // source: ring, peer, snapshot, none
	LateAcks         prometheus.Counter       // acknowledgements that came to a resumed socket
	FenceSweeps      prometheus.Counter       // second rounds over the rooms of a connection, at its fence

	// What ends by itself: graces, and nodes.

	Rings         *prometheus.CounterVec // by: event, nudge, poll: what had a departure claimed
	ExpiryLag     prometheus.Histogram   // seconds from a grace's end to Redis's notice of it
	NodesLost     prometheus.Counter     // nodes that this one condemned
	MasterChanges *prometheus.CounterVec // cause: restart, failover; a primary whose past is in doubt
	Draining      prometheus.Gauge       // 1 while this node drains

	// The feed: events from Redis to this node.

	FeedGaps     prometheus.Counter
	Resyncs      *prometheus.CounterVec // cause: start, gap, reconnect, moved, back, audit, doubt
	FeedProbeAge *prometheus.GaugeVec   // master; seconds since the last probe that came back was sent

	// The lease: this node's right to write.

	LeaseRemaining     prometheus.Gauge // seconds
	LeaseRenewFailures prometheus.Counter
	FencedOperations   prometheus.Counter

	// Redis as this node sees it.

	RedisUp              *prometheus.GaugeVec     // master; 1 or 0
	ClockSpread          prometheus.Gauge         // seconds
	NotificationsEnabled *prometheus.GaugeVec     // master; 1 or 0
	MaxmemoryPolicySafe  *prometheus.GaugeVec     // master; 1 or 0
	PipelineSize         prometheus.Histogram     // operations sent in one pipeline
	ScriptSeconds        *prometheus.HistogramVec // script; seconds from sending a pipeline to its answer
	ScriptErrors         *prometheus.CounterVec   // script; code: of the table of errors
	LaneDepth            prometheus.Gauge         // operations that wait, all lanes
	LaneLimit            prometheus.Gauge         // operations that may wait, all lanes
	LaneRefusals         prometheus.Counter       // operations that a full lane refused
	DeparturesOwed       prometheus.Gauge         // departures that Redis has not confirmed yet

	// The process.

	AuthKeys    prometheus.Gauge       // enabled API keys
	AuthReloads *prometheus.CounterVec // result: ok, error
}

// BuildInfo names the program in presence_build_info.
type BuildInfo struct {
	Version string // the program's version
	Go      string // the Go version that built it
}

// DisconnectReasons lists the values of the label `reason` of
// presence_disconnects_total: every way in which a socket can end.
func DisconnectReasons() []string {
	return []string{
		"closed", "lost", "pong_timeout", "slow_consumer", "protocol", "policy",
		"too_big", "drain", "kicked", "taken_over", "error",
	}
}

// New returns a fresh set of collectors on a registry of its own, with those
// of the Go runtime and the process beside them.
func New(build BuildInfo) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	f := factory{registry: m.registry, entries: &m.entries}
	m.loops = newLoopCollector(f)
	m.addEdge(f)
	m.addPresence(f)
	m.addEnds(f)
	m.addFeedAndLease(f)
	m.addRedis(f)
	m.addProcess(f, build)
	f.registry.MustRegister(m.loops,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in the format that the scraper asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(m.registry,
		promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}

// Entries returns what is said about each metric, by name.
func (m *Metrics) Entries() []Entry {
	return slices.SortedFunc(slices.Values(m.entries), func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
}

// Gatherer gives the collected values to tests and to the page of metrics.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// RegisterLoops sets where the numbers of the event loops come from. read is
// called once a scrape, on the scraper's goroutine, and returns one entry a
// loop; it may block for as long as a loop's turn. A second call replaces it.
func (m *Metrics) RegisterLoops(read func() []LoopStats) { m.loops.read.Store(&read) }

func (m *Metrics) addEdge(f factory) {
	m.ConnectionsAccepted = f.counter("connections_accepted_total",
		"Websockets that got their first frame. A rate far above its usual is a herd that reconnects: see presence_disconnects_total for why.")
	m.HandshakeFailures = f.counterVec("handshake_failures_total",
		"Sockets refused before or in the upgrade, by why. Growth of unauthorized is a wrong key in a client, of unavailable a Redis that does not answer.", "reason")
	m.Disconnects = f.counterVec("disconnects_total",
		"Sockets that ended after their first frame, by how. Growth of lost and pong_timeout is the network or a proxy, of slow_consumer clients that do not read.", "reason")
	for _, reason := range DisconnectReasons() {
		m.Disconnects.WithLabelValues(reason)
	}
	m.Panics = f.counter("panics_total", "Panics in the handler of a connection, which cost that connection only. Each is a bug of ours: report it with the log line.")
	m.SlowConsumers = f.counter("slow_consumer_disconnects_total",
		"Sockets closed because their outbound queue was too large or too old. Growth means that events come faster than some clients or their networks can take.")
	m.LimitHits = f.counterVec("limit_hits_total",
		"Times that a bound refused something, by the setting that holds it. Growth is a client that does too much, or a bound that is too tight.", "limit")
	m.Operations = f.counterVec("operations_total",
		"Requests over the socket by name and outcome: ok or an error's code. Growth of unavailable is Redis, of invalid a client's defect.", "op", "result")
	m.OperationDuration = f.histogramVec("operation_duration_seconds",
		"Time from a request's arrival to its acknowledgement, Redis included. When it grows and presence_redis_script_seconds does not, the node is short of CPU.", fastBuckets, "op")
	m.DeliveryLag = f.histogram("delivery_lag_seconds",
		"Time from an event's moment in Redis to the write on a subscriber's socket. The clocks of Redis's host and of this one are compared: a step of all values is a clock.", fastBuckets)
}

func (m *Metrics) addPresence(f factory) {
	m.EventsPublished = f.counterVec("events_published_total",
		"Events and messages that this node had Redis publish; reason says why a leave was made. Leaves far above joins in a short time are a mass disconnect.", "event", "reason")
	m.DepartureSeconds = f.histogramVec("departure_seconds",
		"Time from the cause of a departure (request, close, socket found lost) to its leaves in Redis, by reason. Above its bound, users see members who are gone.", departureBuckets, "reason")
	m.Reaped = f.counterVec("reaped_total",
		"Departures finished by someone other than the connection's own node at the moment of its end: by the due list (expiry), the sweeper (sweep) or after a node's death (node). Growth of node is a crash.", "by")
	for _, by := range []string{"expiry", "sweep", "node"} {
		m.Reaped.WithLabelValues(by)
	}
	m.Resumes = f.counterVec("resumes_total",
		"Sockets that came back with the id of an earlier one: ok within the grace, away after it (rooms and subscriptions only), new when nothing was left, denied, late behind a newer socket, error. Many away or new for few ok: the grace is too short.", "result")
	for _, result := range []string{"ok", "away", "new", "denied", "late", "error"} {
		m.Resumes.WithLabelValues(result)
	}
	sessions := f.gaugeVec("sessions",
		"Connections of this node by state: live, or grace, lost here and still expected back. grace stays high after a deploy or a network's trouble for as long as sessions.grace.", "state")
	m.SessionsLive, m.SessionsGrace = sessions.WithLabelValues("live"), sessions.WithLabelValues("grace")
	m.Reclaims = f.counterVec("reclaims_total",
		"Connections that were compared with Redis after its restart, a failover or a lost lease: held as they were, asserted anew, taken by another socket, gone, error. Growth of asserted is data that Redis lost.", "result")
	for _, result := range []string{"held", "asserted", "taken", "gone", "error"} {
		m.Reclaims.WithLabelValues(result)
	}
	m.Replays = f.counterVec("replays_total",
		"Resumed subscriptions by where the missed events came from: this node's ring, the other node's (peer), put together from a snapshot, or none were missed. Growth of snapshot: rings are too small, or nodes die.", "source")
	for _, source := range []string{"ring", "peer", "snapshot", "none"} {
		m.Replays.WithLabelValues(source)
	}
	m.LateAcks = f.counter("late_acks_total", "Acknowledgements that were owed to a lost socket and sent on the one that resumed its connection.")
	m.FenceSweeps = f.counter("fence_sweeps_total", "Connections whose rooms were gone through once more when no earlier owner could write any longer. They follow takeovers and drops with requests under way.")
}

func (m *Metrics) addEnds(f factory) {
	m.Rings = f.counterVec("rings_total",
		"What had an ended grace claimed: Redis's notice (event), its notice after a look at the key (nudge), or the list of deadlines (poll). Growth of poll: notices are off or lost.", "by")
	for _, by := range []string{"event", "nudge", "poll"} {
		m.Rings.WithLabelValues(by)
	}
	m.ExpiryLag = f.histogram("expiry_event_lag_seconds",
		"Time from the end of a grace to Redis's notice of the expired key. Above 1 s: many keys with a TTL in this Redis, and this node does not reach them in time.", departureBuckets)
	m.NodesLost = f.counter("nodes_lost_total", "Nodes that this one found dead and condemned. Each is a crash, or a pause longer than the lease.")
	m.MasterChanges = f.counterVec("redis_master_changes_total",
		"Times that a Redis primary was another one, or started anew, so that what it had acknowledged is in doubt and is compared with what the nodes hold.", "cause")
	for _, cause := range []string{"restart", "failover"} {
		m.MasterChanges.WithLabelValues(cause)
	}
	m.Draining = f.gauge("draining", "1 while this node drains: it takes no new sockets and sends its clients to other nodes.")
}

func (m *Metrics) addFeedAndLease(f factory) {
	m.FeedGaps = f.counter("feed_gaps_total",
		"Holes found in a room's revisions: an event that Redis did not deliver to this node. Zero when well; each is mended by a resync. Growth: Redis's output buffer for pub/sub or the network is too small.")
	m.Resyncs = f.counterVec("resyncs_total",
		"Rooms read again and compared with what subscribers were told, by cause. Growth with cause gap follows presence_feed_gaps_total, with cause reconnect a broken link to Redis.", "cause")
	m.FeedProbeAge = f.gaugeVec("feed_probe_age_seconds",
		"Age of the newest probe that came back through Redis's pub/sub. Above twice the beat, this node is deaf to events although its sockets look healthy.", "master")
	m.LeaseRemaining = f.gauge("lease_remaining_seconds",
		"Time left of this node's lease at its last beat. Near zero, the node stops writing, and others will declare it dead.")
	m.LeaseRenewFailures = f.counter("lease_renew_failures_total",
		"Beats of the lease that Redis refused or did not answer in time. Growth means that this node is about to be declared dead.")
	m.FencedOperations = f.counter("fenced_operations_total",
		"Writes refused because the lease or the connection's incarnation was no longer this node's. A few follow a takeover; growth is a node that was slow for longer than its lease.")
}

func (m *Metrics) addRedis(f factory) {
	m.ClockSpread = f.gauge("redis_clock_spread_seconds",
		"How far the clocks of the Redis primaries are apart at least, as this node measures; 0 with one. Above redis.clock_skew this node is not ready.")
	m.RedisUp = f.gaugeVec("redis_up",
		"1 while the Redis primary answers this node, 0 while it does not: then requests get an UnavailableError and sockets stay.", "master")
	m.NotificationsEnabled = f.gaugeVec("redis_keyspace_notifications_enabled",
		"1 when notify-keyspace-events holds Ex. 0: graces end later, by up to 250 ms; someone may have reset the configuration.", "master")
	m.MaxmemoryPolicySafe = f.gaugeVec("redis_maxmemory_policy_safe",
		"1 when Redis evicts nothing of ours (noeviction, or no maxmemory). 0: under memory pressure members vanish without a leave.", "master")
	m.PipelineSize = f.histogram("redis_pipeline_size",
		"Operations sent to Redis in one pipeline. It grows with load and that is well: operations that arrive together travel together.",
		[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256})
	m.ScriptSeconds = f.histogramVec("redis_script_seconds",
		"Time from sending a pipeline to the answer of the script in it. Growth with an idle node is Redis or the network.", fastBuckets, "script")
	m.ScriptErrors = f.counterVec("redis_script_errors_total",
		"Scripts that failed, by the code of the error. unavailable: Redis away or slow; internal: a key of the wrong type or a defect, whose reference is in the log.", "script", "code")
	m.LaneDepth = f.gauge("redis_lane_depth",
		"Operations that wait to be sent to Redis. Growth means that Redis is slower than the requests come; at presence_redis_lane_limit they are refused.")
	m.LaneLimit = f.gauge("redis_lane_limit",
		"Operations that may wait to be sent to Redis before further ones are refused. It changes with the number of primaries.")
	m.LaneRefusals = f.counter("redis_lane_refusals_total",
		"Operations refused because the queue to Redis was full. Zero when well.")
	m.DeparturesOwed = f.gauge("departures_owed",
		"Departures that Redis has not confirmed yet and that are being repeated. It stays above zero while Redis is away.")
}

func (m *Metrics) addProcess(f factory, build BuildInfo) {
	f.gaugeVec("build_info", "1, with the version of the program and of Go as labels. A change is a deploy.", "version", "go").
		WithLabelValues(build.Version, build.Go).Set(1)
	m.AuthKeys = f.gauge("auth_keys", "API keys that may connect. A drop to zero locks everybody out.")
	m.AuthReloads = f.counterVec("auth_reloads_total",
		"Times that the file of apps and keys was read again. error: the file has a fault, and the keys from before stay in force.", "result")
	for _, result := range []string{"ok", "error"} {
		m.AuthReloads.WithLabelValues(result)
	}
}
