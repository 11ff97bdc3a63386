package redisstore

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"
)

// Notices to this node come on its ctl channels, one in each shard of
// connections: <p>:{c3f}:ctl:<stamp>. One of them is subscribed on each
// master's link, that of shard 0.
//
//	probe <n>    what this node publishes itself with each beat of its lease
//
// The probe shows that what is published on this master reaches this node. It
// came back means: so did everything published before it. Its age bounds how
// long the node may write (validUntil) and decides readiness. One that does not
// come back for two beats ends the link: a node that is deaf must not stay so.
// Nobody leaves because of it (invariant 11).

const ctlShard = 0

// ctl is the state of this node's notices. Owned by the loop.
type ctl struct {
	f      *feed
	sub    *subscription // nil before the first setStamp
	probes []probe       // published and not back, oldest first
	flying int64         // the probe that is being published; 0: none. One that is back is not
}

type probe struct {
	n         int64
	sent      time.Time // before it was published
	published bool
}

// setStamp subscribes the notices to stamp, in place of an earlier one. It
// never blocks.
func (f *feed) setStamp(stamp string) {
	f.post(func() {
		if f.ctl.sub != nil {
			f.unsubscribe(f.ctl.sub)
		}
		f.ctl.probes = nil
		f.ctl.sub = f.subscribe(f.keys.ctl(ctlShard, stamp), &f.ctl)
	})
}

// probe publishes `probe <n>` to ourselves and looks whether the last ones came
// back. To be called with each beat, with a growing n. It never blocks.
func (f *feed) probe(n int64) {
	now := time.Now()
	f.post(func() { f.beat(n, now) })
}

// probeAge returns for how long it has not been shown that events reach this
// node: the age of the newest probe that came back, counted from when it was
// sent. Without one it is more than a century.
func (f *feed) probeAge() time.Duration {
	back := f.probeBack.Load()
	if back == 0 {
		return math.MaxInt64
	}
	return time.Since(f.started) - time.Duration(back)
}

// beat is done once a beat: look at the last two, then send the next.
func (f *feed) beat(n int64, now time.Time) {
	f.showProbeAge()
	if f.link == nil || !f.link.up {
		return
	}
	if f.ctl.missed() >= 2 || !f.beatEcho() {
		f.abandon(errDeaf)
		return
	}
	if f.ctl.sub == nil || !f.ctl.sub.on || f.ctl.flying != 0 {
		return
	}
	f.ctl.flying = n
	f.ctl.probes = append(f.ctl.probes, probe{n: n, sent: now})
	channel := f.ctl.sub.name
	f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		err := f.client.SPublish(ctx, channel, "probe "+strconv.FormatInt(n, 10)).Err()
		return func() { f.ctl.published(n, err) }
	})
}

// missed is how many probes Redis took and did not bring back.
func (c *ctl) missed() int {
	missed := 0
	for _, p := range c.probes {
		if p.published {
			missed++
		}
	}
	return missed
}

// published is told how publishing probe n ended. One that was not published
// says nothing about the feed.
func (c *ctl) published(n int64, err error) {
	c.landed(n)
	for i := range c.probes {
		if c.probes[i].n != n {
			continue
		}
		if err != nil {
			c.f.log.Debug("could not publish a probe", "master", c.f.master, "err", err)
			c.probes = append(c.probes[:i], c.probes[i+1:]...)
			return
		}
		c.probes[i].published = true
		return
	}
}

// landed: the next probe may be sent. A probe may be back before Redis's answer
// to its publishing is; the beat that comes in between must not be skipped.
func (c *ctl) landed(n int64) {
	if c.flying == n {
		c.flying = 0
	}
}

// confirmed: what was published before this is not expected any more.
func (c *ctl) confirmed(string) { c.probes = nil }

func (c *ctl) message(payload string) {
	word, rest, _ := strings.Cut(payload, " ")
	if word != "probe" {
		return // a notice of a newer version
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return
	}
	for i, p := range c.probes {
		if p.n == n {
			c.landed(n)
			c.f.probeBack.Store(int64(max(1, p.sent.Sub(c.f.started))))
			c.probes = append(c.probes[:0], c.probes[i+1:]...)
			c.f.showProbeAge()
			return
		}
	}
}

func (f *feed) showProbeAge() {
	age := min(f.probeAge(), time.Since(f.started))
	f.metrics.FeedProbeAge.WithLabelValues(f.master).Set(age.Seconds())
}
