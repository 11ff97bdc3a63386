package node

import (
	"time"

	presence "presencesets"
	"presencesets/metrics"
	"presencesets/protocol"
)

// loopMetrics is a loop's view of the node's metrics: the children of the
// label sets that are hot, asked for once.
type loopMetrics struct {
	*metrics.Metrics
	results  map[resultKey]counter
	duration [256]observer
	ends     [endCount]counter
	limits   map[string]counter
}

type resultKey struct {
	typ  protocol.Type
	code presence.Code
}

type (
	counter  interface{ Inc() }
	observer interface{ Observe(float64) }
)

func newLoopMetrics(m *metrics.Metrics) *loopMetrics {
	return &loopMetrics{Metrics: m, results: make(map[resultKey]counter), limits: make(map[string]counter)}
}

// done counts one request and how long it took; code "" is success. A request
// that was answered in its own turn has taken 0: it is counted as that.
func (m *loopMetrics) done(t protocol.Type, code presence.Code, took time.Duration) {
	key := resultKey{t, code}
	c := m.results[key]
	if c == nil {
		word := string(code)
		if code == "" {
			word = "ok"
		}
		c = m.Operations.WithLabelValues(t.Op(), word)
		m.results[key] = c
	}
	c.Inc()
	m.took(t, took)
}

func (m *loopMetrics) took(t protocol.Type, took time.Duration) {
	if took <= 0 {
		return
	}
	o := m.duration[t]
	if o == nil {
		o = m.OperationDuration.WithLabelValues(t.Op())
		m.duration[t] = o
	}
	o.Observe(took.Seconds())
}

func (m *loopMetrics) limit(name string) {
	c := m.limits[name]
	if c == nil {
		c = m.LimitHits.WithLabelValues(name)
		m.limits[name] = c
	}
	c.Inc()
}

func (m *loopMetrics) disconnect(why end) {
	c := m.ends[why]
	if c == nil {
		c = m.Disconnects.WithLabelValues(why.String())
		m.ends[why] = c
	}
	c.Inc()
}

func (m *loopMetrics) handshakeFailure(reason string) {
	m.HandshakeFailures.WithLabelValues(reason).Inc()
}
