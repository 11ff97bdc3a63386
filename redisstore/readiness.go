package redisstore

import (
	"fmt"
	"time"
)

// What this node's readiness depends on here: Redis answers, the lease is
// held, the feed hears; each with the time since when it is as it is. They
// decide nothing but what is said: who hears nothing declares nobody gone
// (invariant 11).

// probeLimit is the age of the last returned probe from which the feed counts
// as deaf.
const probeLimit = 10 * time.Second

// condition is a fact with the time of its last change.
type condition struct {
	ok    bool
	since time.Time
	text  string
}

func (c *condition) set(ok bool, since time.Time, text string) {
	if c.since.IsZero() || c.ok != ok {
		c.ok, c.since = ok, since
	}
	c.text = text
}

// observe brings the conditions and the gauges of a master up to date after a
// beat.
func (l *lease) observe(m *master, err error) {
	if l.store.masters.now.Load().byName[m.name] != m {
		return // it has gone meanwhile
	}
	now := time.Now()
	text := "Redis answers"
	if err != nil {
		text = "Redis at " + m.name + " does not answer: " + err.Error()
	}
	l.mu.Lock()
	was := m.answers
	m.answers.set(err == nil, now, text)
	l.mu.Unlock()
	l.look(now)
	l.opts.Metrics.RedisUp.WithLabelValues(m.name).Set(bit(err == nil))
	if was.since.IsZero() || was.ok == (err == nil) {
		return
	}
	if err != nil {
		l.log.Warn("Redis does not answer; requests are refused until it does", "master", m.name, "err", err)
	} else {
		l.log.Info("Redis answers again", "master", m.name,
			"took_ms", now.Sub(was.since).Milliseconds())
	}
}

// look brings the conditions that change with time alone up to date.
func (l *lease) look(now time.Time) (redis, hold, hear condition) {
	age := l.feed.probeAge()
	g := l.grant.Load()
	left := time.Duration(g.end-g.upper(l.store.clock())) * time.Millisecond
	spread := l.store.masters.now.Load().spread()
	l.mu.Lock()
	defer l.mu.Unlock()
	redis = l.answersLocked()
	l.clocks.set(spread <= l.opts.ClockSkew, now, fmt.Sprintf("the masters' clocks are %d ms apart; redis.clock_skew allows %d ms",
		spread.Milliseconds(), l.opts.ClockSkew.Milliseconds()))
	if redis.ok && !l.clocks.ok {
		redis = l.clocks
	}
	if left > 0 {
		l.hold.set(true, now, "this node is "+g.stamp)
	} else {
		l.hold.set(false, now.Add(left), "the lease of "+g.stamp+" has ended; this node may not write")
	}
	if age < probeLimit {
		l.hear.set(true, now, fmt.Sprintf("the last probe that came back is %d ms old", age.Milliseconds()))
	} else {
		at := now
		if age < time.Hour {
			at = now.Add(probeLimit - age)
		}
		l.hear.set(false, at, "no probe came back through Redis's pub/sub; this node may miss events")
	}
	l.opts.Metrics.LeaseRemaining.Set(max(0, left.Seconds()))
	return redis, l.hold, l.hear
}

// answersLocked is whether Redis answers: every master, or which one does not.
func (l *lease) answersLocked() condition {
	all := condition{ok: true}
	for _, m := range l.store.masters.now.Load().all {
		switch a := &m.answers; {
		case a.since.IsZero(): // it has just come, and is looked at
		case !a.ok && (all.ok || a.since.Before(all.since)):
			all = *a
		case a.ok && all.ok && a.since.After(all.since):
			all = *a
		}
	}
	return all
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
