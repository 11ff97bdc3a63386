package redisstore

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	presence "presencesets"
)

// Notices to this node come on its ctl channels, one in each shard of
// connections: <p>:{c3f}:ctl:<stamp>. On each master's link those of its shards
// are subscribed.
//
//	probe <n>                what this node publishes itself with each beat
//	taken <conn> <inc>       another socket has the connection (resume.lua)
//	late, replay, answer     questions between nodes (ask.go)
//
// The probe shows that what is published on this master reaches this node. It
// came back means: so did everything published before it, every taken too. Its
// age bounds how long the node may write (validUntil) and decides readiness. One
// that does not come back for two beats ends the link: a node that is deaf must
// not stay so. Nobody leaves because of it (invariant 11).
//
// So none is sent before all channels are confirmed and, where they were
// subscribed before, the connections were looked at that may have been taken
// meanwhile (recheck.go).

// ctlShard is the shard whose channel has the probes.
const ctlShard = 0

// ctl is the state of this node's notices. Owned by the loop.
type ctl struct {
	f      *feed
	stamp  string          // "" before the first setStamp
	had    map[string]bool // every stamp of this process
	shards []*shardCtl
	sub    *subscription // that of ctlShard; nil before the first setStamp
	on     int           // how many are confirmed
	before bool          // all were confirmed once: what came between may be lost
	sure   bool          // nothing is lost, as far as we can know
	round  int           // of looking back
	moved  int           // connections that it found to be another node's
	probes []probe       // published and not back, oldest first
	flying int64         // the probe that is being published; 0: none. One that is back is not

	questions    map[uint64]*question
	lastQuestion uint64
	askers       map[string]time.Time // known to be in the registry until
	looking      int                  // for an asker
	out          []notice
	outBytes     int
	publishing   bool
}

type probe struct {
	n         int64
	sent      time.Time // before it was published
	published bool
}

// shardCtl is the channel of one shard.
type shardCtl struct {
	c     *ctl
	shard int
	sub   *subscription
	on    bool
}

// setStamp subscribes the notices to stamp, in place of an earlier one. It
// never blocks.
func (f *feed) setStamp(stamp string) {
	f.post(func() {
		c := &f.ctl
		for _, s := range c.shards {
			f.unsubscribe(s.sub)
		}
		c.deaf()
		c.stamp, c.had[stamp] = stamp, true
		c.shards = make([]*shardCtl, shards)
		for i := range c.shards {
			s := &shardCtl{c: c, shard: i}
			c.shards[i] = s
			s.sub = f.subscribe(f.keys.ctl(i, stamp), s)
		}
		c.sub = c.shards[ctlShard].sub
	})
}

// deaf: the channels have to be confirmed anew.
func (c *ctl) deaf() {
	c.on, c.sure, c.probes = 0, false, nil
	c.round++
	c.close() // parts of answers may be missing
	for _, s := range c.shards {
		s.on = false
	}
}

// heard reports whether all that is published for this node arrives.
func (c *ctl) heard() bool { return c.on == len(c.shards) && c.on > 0 }

// own reports whether stamp is one of this process.
func (c *ctl) own(stamp string) bool { return c.had[stamp] }

// request subscribes again on a new link.
func (c *ctl) request() {
	c.deaf()
	for _, s := range c.shards {
		c.f.request(s.sub, causeReconnect)
	}
}

// confirmed: what was published before this is not expected any more.
func (s *shardCtl) confirmed(string) {
	c := s.c
	c.probes = nil
	s.on = true
	if c.on++; !c.heard() {
		return
	}
	if !c.before {
		c.before, c.sure = true, true
		return
	}
	c.lookBack()
}

// ended: Redis ended the subscription by itself. What is published until it is
// confirmed again does not arrive, though the probes of another shard do.
func (s *shardCtl) ended() {
	if s.on {
		s.on = false
		s.c.on--
	}
	s.c.sure, s.c.probes = false, nil
	s.c.round++
	s.c.close()
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
	if !f.ctl.heard() || !f.ctl.sure || f.ctl.flying != 0 {
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

// message acts on a notice. One of another form is nothing to us: whoever can
// publish here can do worse, and must not stop this node.
func (s *shardCtl) message(payload string) {
	word, rest, _ := strings.Cut(payload, " ")
	var err error
	switch word {
	case "probe":
		err = s.c.haveProbe(rest)
	case "taken":
		err = s.haveTaken(rest)
	case "late", "replay":
		err = s.c.haveQuestion(s.shard, word, rest)
	case "answer":
		err = s.c.haveAnswer(rest)
	} // else a notice of a newer version
	if err != nil {
		s.c.f.complainOf("a notice to this node is not understood", err)
	}
}

// haveTaken: `<conn> <inc>`.
func (s *shardCtl) haveTaken(rest string) error {
	name, number, _ := strings.Cut(rest, " ")
	conn, ok := presence.ParseConnID(name)
	inc, valid := parseDecimal([]byte(number))
	if !ok || !valid || conn.Shard() != s.shard {
		return errMalformed
	}
	s.c.f.taken(conn, inc)
	return nil
}

func (c *ctl) haveProbe(number string) error {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return errMalformed
	}
	for i, p := range c.probes {
		if p.n == n {
			c.landed(n)
			c.f.probeBack.Store(int64(max(1, p.sent.Sub(c.f.started))))
			c.probes = append(c.probes[:0], c.probes[i+1:]...)
			c.f.showProbeAge()
			return nil
		}
	}
	return nil
}

func (f *feed) showProbeAge() {
	age := min(f.probeAge(), time.Since(f.started))
	f.metrics.FeedProbeAge.WithLabelValues(f.master).Set(age.Seconds())
}
