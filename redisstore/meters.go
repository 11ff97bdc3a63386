package redisstore

import (
	"time"

	presence "presencesets"
	"presencesets/metrics"
)

// meters are the metrics that are counted for each operation or call, found
// once: to look a label up costs a hash and a lock.
type meters struct {
	metrics  *metrics.Metrics
	pipeline observer
	seconds  [opKinds]observer
	joined   counter
	updated  counter
	messages counter
	leaves   map[presence.Reason]counter
	ended    map[presence.Reason]observer
}

type (
	observer interface{ Observe(float64) }
	counter  interface{ Inc() }
)

func newMeters(m *metrics.Metrics) *meters {
	t := &meters{
		metrics: m, pipeline: m.PipelineSize,
		joined:   m.EventsPublished.WithLabelValues("join", ""),
		updated:  m.EventsPublished.WithLabelValues("update", ""),
		messages: m.EventsPublished.WithLabelValues("message", ""),
		leaves:   make(map[presence.Reason]counter),
		ended:    make(map[presence.Reason]observer),
	}
	for kind := range opKinds {
		if name := opName(kind); name != "unknown" {
			t.seconds[kind] = m.ScriptSeconds.WithLabelValues(name)
		}
	}
	for _, reason := range presence.Reasons() {
		t.leaves[reason] = m.EventsPublished.WithLabelValues("leave", string(reason))
		t.ended[reason] = m.DepartureSeconds.WithLabelValues(string(reason))
	}
	return t
}

// opName is the word for a kind of operation in logs and metrics.
func opName(kind presence.OpKind) string {
	switch kind {
	case opClose:
		return "close"
	case opRead:
		return "session"
	case opFinish:
		return "finish"
	case opMark:
		return "mark"
	case opDetach:
		return "detach"
	case opOwner:
		return "owner"
	case opClaim:
		return "claim"
	case opAdopt:
		return "adopt"
	case opAdopted:
		return "adopted"
	case opAssert:
		return "assert"
	case opMember:
		return "member"
	}
	return kind.String()
}

// took counts a call and the time from its pipeline's begin to its answer.
func (t *meters) took(kind presence.OpKind, d time.Duration) { t.seconds[kind].Observe(d.Seconds()) }

// failed counts a call that did not work.
func (t *meters) failed(kind presence.OpKind, code presence.Code) {
	t.metrics.ScriptErrors.WithLabelValues(opName(kind), string(code)).Inc()
}

// published counts what an operation had Redis publish. A join of who is a
// member already is published as an update; it counts as what was asked for.
func (t *meters) published(op *presence.Op) {
	switch op.Kind {
	case presence.OpJoin, opAssert:
		t.joined.Inc()
	case presence.OpUpdate:
		t.updated.Inc()
	case presence.OpLeave:
		if c, ok := t.leaves[op.Reason]; ok {
			c.Inc()
		}
	case presence.OpPublish:
		t.messages.Inc()
	}
}

// departed counts the time from the end of a connection to its last leave. The
// cause of what comes from the due list was seen by someone else.
func (t *meters) departed(reason presence.Reason, took time.Duration) {
	if o, ok := t.ended[reason]; ok {
		o.Observe(took.Seconds())
	}
}
