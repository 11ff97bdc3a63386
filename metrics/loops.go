package metrics

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// LoopStats is what one event loop counted since it started. The loop owns
// the numbers as plain fields, without atomics, and hands a copy to the
// scraper through a task of its own.
type LoopStats struct {
	Loop int // the loop's number, from 0

	Handshaking, Live, Closing int // connections by state, now

	Turns         uint64  // turns of the loop
	TurnSeconds   float64 // time spent in turns, sum
	Wakes, Events uint64  // returns of the poller; readiness events in them

	MailboxDepth       int     // tasks that wait, now
	MailboxWaitSeconds float64 // how long the oldest of them waits
	JobsActive         int     // long works done in slices, now
	JobAgeSeconds      float64 // age of the oldest of them

	BytesIn, BytesOut, FramesIn, FramesOut uint64
	Sends, EAGAIN                          uint64 // send calls; those that the kernel did not take whole

	PartialBytes, QueueBytes int64   // held for frames that are not complete; held in outbound queues
	WheelLagSeconds          float64 // how late the timers' last tick was

	Rooms, Subscribers, Members int // hosted by this loop, now

	Delivered [4]uint64 // events written to sockets, by presence.Kind; 0 = message
}

// deliveredWords are the labels of LoopStats.Delivered.
var deliveredWords = [4]string{"message", "join", "update", "leave"}

// loopCollector turns the loops' numbers into metrics at scrape time.
type loopCollector struct {
	read  atomic.Pointer[func() []LoopStats]
	loops []loopMetric
	sums  []sumMetric

	connections *prometheus.Desc // loop, state
	delivered   *prometheus.Desc // event
}

// loopMetric is one series a loop.
type loopMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*LoopStats) float64
}

// sumMetric is one series a node: the sum over its loops.
type sumMetric struct {
	desc  *prometheus.Desc
	value func(*LoopStats) float64
}

func newLoopCollector(f factory) *loopCollector {
	desc := func(kind, name, help string, labels ...string) *prometheus.Desc {
		f.note(kind, name, help, labels...)
		return prometheus.NewDesc(prometheus.BuildFQName(Namespace, "", name), help, labels, nil)
	}
	c := &loopCollector{
		connections: desc("gauge", "loop_connections", "Connections of an event loop by state. Many in handshaking for long are clients that connect and say nothing.", "loop", "state"),
		delivered:   desc("counter", "events_delivered_total", "Events and messages written to subscribers' sockets, one for each subscriber. Its ratio to presence_events_published_total is the fan-out.", "event"),
	}
	gauge := func(name, help string, value func(*LoopStats) float64) {
		c.loops = append(c.loops, loopMetric{desc("gauge", "loop_"+name, help, "loop"), prometheus.GaugeValue, value})
	}
	counter := func(name, help string, value func(*LoopStats) float64) {
		c.loops = append(c.loops, loopMetric{desc("counter", "loop_"+name, help, "loop"), prometheus.CounterValue, value})
	}
	sum := func(name, help string, value func(*LoopStats) float64) {
		c.sums = append(c.sums, sumMetric{desc("gauge", name, help), value})
	}

	counter("turns_total", "Turns of an event loop. No growth for seconds: the loop hangs, and /healthz says so.",
		func(s *LoopStats) float64 { return float64(s.Turns) })
	counter("turn_seconds_total", "Time that an event loop was busy. A rate near 1 means that this loop is the bottleneck: more loops, or more nodes.",
		func(s *LoopStats) float64 { return s.TurnSeconds })
	counter("wakes_total", "Returns of an event loop's poller. Beside loop_events_total it tells how many events one wake serves: more a wake is cheaper.",
		func(s *LoopStats) float64 { return float64(s.Wakes) })
	counter("events_total", "Readiness events that an event loop's poller returned.",
		func(s *LoopStats) float64 { return float64(s.Events) })
	gauge("mailbox_depth", "Tasks from other goroutines that wait for an event loop. Growth means that the loop is overloaded.",
		func(s *LoopStats) float64 { return float64(s.MailboxDepth) })
	gauge("mailbox_wait_seconds", "How long the oldest task in an event loop's mailbox waits. Growth is latency that every user of the loop feels.",
		func(s *LoopStats) float64 { return s.MailboxWaitSeconds })
	gauge("jobs_active", "Long works, such as one event to very many subscribers, that an event loop does in slices.",
		func(s *LoopStats) float64 { return float64(s.JobsActive) })
	gauge("job_age_seconds", "Age of the oldest long work of an event loop. Growth means that fan-out falls behind.",
		func(s *LoopStats) float64 { return s.JobAgeSeconds })
	counter("received_bytes_total", "Bytes read from clients' sockets.", func(s *LoopStats) float64 { return float64(s.BytesIn) })
	counter("sent_bytes_total", "Bytes written to clients' sockets.", func(s *LoopStats) float64 { return float64(s.BytesOut) })
	counter("received_frames_total", "Websocket frames read from clients.", func(s *LoopStats) float64 { return float64(s.FramesIn) })
	counter("sent_frames_total", "Websocket frames written to clients. Beside loop_sends_total it tells how many frames one system call carries: more a call is cheaper.",
		func(s *LoopStats) float64 { return float64(s.FramesOut) })
	counter("sends_total", "System calls that wrote to clients' sockets.", func(s *LoopStats) float64 { return float64(s.Sends) })
	counter("sends_short_total", "Writes that the kernel did not take whole, because the socket's buffer was full. Growth is clients or networks that are slower than the events.",
		func(s *LoopStats) float64 { return float64(s.EAGAIN) })
	gauge("partial_bytes", "Memory held for frames that have not arrived whole. Growth without load is a client that sends frames and does not end them.",
		func(s *LoopStats) float64 { return float64(s.PartialBytes) })
	gauge("queue_bytes", "Memory held in the outbound queues of an event loop's connections.",
		func(s *LoopStats) float64 { return float64(s.QueueBytes) })
	gauge("wheel_lag_seconds", "How late the last tick of an event loop's timers was. Growth is a loop without CPU: pings and timeouts become late.",
		func(s *LoopStats) float64 { return s.WheelLagSeconds })

	sum("connections", "Websockets with an established session on this node. A fall of many per cent in a minute is a proxy, a deploy or the network.",
		func(s *LoopStats) float64 { return float64(s.Live) })
	sum("rooms", "Rooms that this node hosts for its own connections; a room on two event loops counts twice.",
		func(s *LoopStats) float64 { return float64(s.Rooms) })
	sum("subscribers", "Subscriptions to rooms' events and messages by connections of this node. It moves with what users have open.",
		func(s *LoopStats) float64 { return float64(s.Subscribers) })
	sum("members", "Memberships held by connections of this node. The sum over all nodes is the number of members in Redis.",
		func(s *LoopStats) float64 { return float64(s.Members) })
	sum("write_queue_bytes", "Memory held in outbound queues, all connections. Growth comes before slow consumers are closed.",
		func(s *LoopStats) float64 { return float64(s.QueueBytes) })
	return c
}

// Describe implements [prometheus.Collector].
func (c *loopCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.connections
	out <- c.delivered
	for _, m := range c.loops {
		out <- m.desc
	}
	for _, m := range c.sums {
		out <- m.desc
	}
}

// Collect implements [prometheus.Collector]. Before RegisterLoops there is
// nothing to tell.
func (c *loopCollector) Collect(out chan<- prometheus.Metric) {
	read := c.read.Load()
	if read == nil {
		return
	}
	loops := (*read)()
	var delivered [len(deliveredWords)]uint64
	for i := range loops {
		s := &loops[i]
		loop := strconv.Itoa(s.Loop)
		for _, m := range c.loops {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), loop)
		}
		for state, n := range map[string]int{"handshaking": s.Handshaking, "live": s.Live, "closing": s.Closing} {
			out <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(n), loop, state)
		}
		for k, n := range s.Delivered {
			delivered[k] += n
		}
	}
	for _, m := range c.sums {
		total := 0.0
		for i := range loops {
			total += m.value(&loops[i])
		}
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, total)
	}
	for k, word := range deliveredWords {
		out <- prometheus.MustNewConstMetric(c.delivered, prometheus.CounterValue, float64(delivered[k]), word)
	}
}
