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
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	r.probe(1)
	r.until("the probe is back", func() bool { return len(r.ups[0].heard.probes) == 0 })
	if age := r.probeAge(); age > time.Since(began) {
		t.Errorf("age of a probe that is back is %v, more than the %v since it was sent", age, time.Since(began))
	}
	// A new stamp is another channel.
	r.setStamp("n1.2")
	r.until("the new notices are subscribed", func() bool { return r.ups[0].heard.sure })
	before := r.ups[0].probeBack.Load()
	r.probe(2)
	r.until("the second probe is back", func() bool { return r.ups[0].probeBack.Load() > before })
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(0, "n1.2"), "taken 8d01c1b2d3e4f5a6b7c8 5")
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(0, "n1.2"), "probe me")
	r.redis.SPublish(t.Context(), r.feed.keys.ctl(0, "n1.2"), "probe 2")
	r.probe(3)
	r.until("the third probe is back", func() bool { return len(r.ups[0].heard.probes) == 0 })
}

func TestDeafFeedMakesANewLink(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	s := r.follow("a")
	var old *link
	var name string
	r.onLoop(func() { // probes go where nobody listens
		old, name, r.ups[0].heard.sub.name = r.ups[0].link, r.ups[0].heard.sub.name, "elsewhere"
	})
	for n := range int64(2) {
		r.probe(n + 1)
		r.until("the probe is sent", func() bool { return r.ups[0].heard.flying == 0 })
	}
	r.onLoop(func() {
		r.ups[0].beat(3, time.Now())
		r.ups[0].heard.sub.name = name
	})
	r.until("the link is new", func() bool { return r.ups[0].link != old && r.ups[0].link != nil && r.ups[0].link.up })
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	r.probe(9)
	r.until("the probe is back", func() bool { return r.ups[0].probeBack.Load() > 0 })
	r.put("a", 1, `1`)
	s.waitFor(1)
}

func TestSilentRedisEndsTheLink(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	s := r.follow("a")
	var old *link
	r.onLoop(func() { old = r.ups[0].link })
	server.Pause(t)
	for n := range int64(3) {
		r.probe(n + 1)
	}
	for gone := false; !gone; runtime.Gosched() {
		r.onLoop(func() { gone = r.ups[0].link != old })
	}
	server.Resume(t)
	r.put("a", 1, `1`)
	s.waitFor(1)
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	r.probe(4)
	r.until("a probe is back", func() bool { return r.ups[0].probeBack.Load() > 0 })
}

func TestProbeThatIsBackBeforeItsPublishingIsAnsweredHoldsUpNoBeat(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.setStamp("n1.1")
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	r.onLoop(func() { // the loop sees the message, and only later the answer
		r.ups[0].beat(1, time.Now())
		r.ctl.shards[0].message("probe 1")
		r.ups[0].beat(2, time.Now())
		if len(r.ups[0].heard.probes) != 1 || r.ups[0].heard.probes[0].n != 2 {
			t.Errorf("under way after the second beat: %+v, want probe 2", r.ups[0].heard.probes)
		}
		r.ups[0].published(1, nil)
		if r.ups[0].heard.flying != 2 {
			t.Error("the late answer to the first probe was taken for that to the second")
		}
	})
	r.until("the second probe is back", func() bool { return len(r.ups[0].heard.probes) == 0 })
}
