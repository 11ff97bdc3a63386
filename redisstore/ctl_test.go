package redisstore

import (
	"runtime"
	"testing"
	"time"

	"presencesets/internal/redistest"
)

func TestProbeComesBack(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	if age := r.probeAge(); age < 24*365*time.Hour {
		t.Errorf("age without a probe is %v", age)
	}
	began := time.Now()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	r.probe(1)
	r.until("the probe is back", func() bool { return len(r.ctl.probes) == 0 })
	if age := r.probeAge(); age > time.Since(began) {
		t.Errorf("age of a probe that is back is %v, more than the %v since it was sent", age, time.Since(began))
	}
	// A new stamp is another channel.
	r.setStamp("n1.2")
	r.until("the new notices are subscribed", func() bool { return r.ctl.sure })
	before := r.probeBack.Load()
	r.probe(2)
	r.until("the second probe is back", func() bool { return r.probeBack.Load() > before })
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(ctlShard, "n1.2"), "taken 8d01c1b2d3e4f5a6b7c8 5")
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(ctlShard, "n1.2"), "probe me")
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(ctlShard, "n1.2"), "probe 2")
	r.probe(3)
	r.until("the third probe is back", func() bool { return len(r.ctl.probes) == 0 })
}

func TestDeafFeedMakesANewLink(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	s := r.follow("a")
	var old *link
	var name string
	r.onLoop(func() { // probes go where nobody listens
		old, name, r.ctl.sub.name = r.link, r.ctl.sub.name, "elsewhere"
	})
	for n := range int64(2) {
		r.probe(n + 1)
		r.until("the probe is sent", func() bool { return r.ctl.flying == 0 })
	}
	r.onLoop(func() {
		r.beat(3, time.Now())
		r.ctl.sub.name = name
	})
	r.until("the link is new", func() bool { return r.link != old && r.link != nil && r.link.up })
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	r.probe(9)
	r.until("the probe is back", func() bool { return r.probeBack.Load() > 0 })
	r.put("a", 1, `1`)
	s.waitFor(1)
}

func TestSilentRedisEndsTheLink(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	s := r.follow("a")
	var old *link
	r.onLoop(func() { old = r.link })
	server.Pause(t)
	for n := range int64(3) {
		r.probe(n + 1)
	}
	for gone := false; !gone; runtime.Gosched() {
		r.onLoop(func() { gone = r.link != old })
	}
	server.Resume(t)
	r.put("a", 1, `1`)
	s.waitFor(1)
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	r.probe(4)
	r.until("a probe is back", func() bool { return r.probeBack.Load() > 0 })
}

func TestProbeThatIsBackBeforeItsPublishingIsAnsweredHoldsUpNoBeat(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ctl.sure })
	r.onLoop(func() { // the loop sees the message, and only later the answer
		r.beat(1, time.Now())
		r.ctl.shards[ctlShard].message("probe 1")
		r.beat(2, time.Now())
		if len(r.ctl.probes) != 1 || r.ctl.probes[0].n != 2 {
			t.Errorf("under way after the second beat: %+v, want probe 2", r.ctl.probes)
		}
		r.ctl.published(1, nil)
		if r.ctl.flying != 2 {
			t.Error("the late answer to the first probe was taken for that to the second")
		}
	})
	r.until("the second probe is back", func() bool { return len(r.ctl.probes) == 0 })
}
