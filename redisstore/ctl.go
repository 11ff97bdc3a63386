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

// ctl is the state of this node's notices that no master has for itself (see
// hearing for the rest). Owned by the loop.
type ctl struct {
	f      *feed
	stamp  string          // "" before the first setStamp
	had    map[string]bool // every stamp of this process
	shards []*shardCtl     // by shard; none before the first setStamp

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
		c.stamp, c.had[stamp] = stamp, true
		c.shards = make([]*shardCtl, shards)
		for i := range c.shards {
			s := &shardCtl{c: c, shard: i}
			c.shards[i] = s
			s.sub = f.subscribe(f.keys.ctl(i, stamp), s)
		}
		f.placeNotices()
	})
}

// own reports whether stamp is one of this process.
func (c *ctl) own(stamp string) bool { return c.had[stamp] }

// confirmed: what was published before this is not expected any more.
func (s *shardCtl) confirmed(string) {
	u := s.sub.up
	u.heard.probes = nil
	s.on = true
	if u.heard.on++; u.hears() {
		u.allConfirmed()
	}
}

// allConfirmed: from here every notice of this master arrives.
func (u *upstream) allConfirmed() {
	if !u.heard.before {
		u.heard.before, u.heard.sure = true, true
		return
	}
	u.lookBack()
}

// ended: Redis ended the subscription by itself. What is published until it is
// confirmed again does not arrive, though the probes of another shard do.
func (s *shardCtl) ended() {
	h := &s.sub.up.heard
	if s.on {
		s.on = false
		h.on--
	}
	h.sure, h.probes = false, nil
	h.round++
	s.c.close()
}

// probe publishes `probe <n>` to ourselves on each master and looks whether the
// last ones came back. To be called with each beat, with a growing n. It never
// blocks.
func (f *feed) probe(n int64) {
	now := time.Now()
	f.post(func() {
		for _, u := range f.ups {
			u.beat(n, now)
		}
	})
}

// probeAge is that of the master from which nothing was heard the longest.
func (f *feed) probeAge() time.Duration { _, most := f.probeAges(); return most }

// probeAgeLeast is that of the master which was heard last.
func (f *feed) probeAgeLeast() time.Duration { least, _ := f.probeAges(); return least }

func (f *feed) probeAges() (least, most time.Duration) {
	table := f.listening.Load()
	if table == nil {
		return math.MaxInt64, math.MaxInt64
	}
	least = math.MaxInt64
	var last *upstream
	for _, u := range table {
		if u != last { // with one master all are the same
			age := u.probeAge()
			least, most, last = min(least, age), max(most, age), u
		}
	}
	return least, most
}

// listensAt is the upstream that brings the notices of a shard; nil before the
// first stamp.
func (f *feed) listensAt(shard int) *upstream {
	table := f.listening.Load()
	if table == nil {
		return nil
	}
	return table[shard]
}

// probeAgeOf is that of the master which has a shard of connections.
func (f *feed) probeAgeOf(shard int) time.Duration { return f.listensAt(shard).probeAge() }

// beat is done once a beat: look at the last two, then send the next.
func (u *upstream) beat(n int64, now time.Time) {
	u.showProbeAge()
	if u.link == nil || !u.link.up {
		return
	}
	h := &u.heard
	if h.missed() >= 2 || !u.beatEcho() {
		u.abandon(errDeaf)
		return
	}
	if !u.hears() || !h.sure || h.flying != 0 {
		return
	}
	h.flying = n
	h.probes = append(h.probes, probe{n: n, sent: now})
	channel := h.sub.name
	u.f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		err := u.client.SPublish(ctx, channel, "probe "+strconv.FormatInt(n, 10)).Err()
		return func() { u.published(n, err) }
	})
}

// missed is how many probes Redis took and did not bring back.
func (h *hearing) missed() int {
	missed := 0
	for _, p := range h.probes {
		if p.published {
			missed++
		}
	}
	return missed
}

// published is told how publishing probe n ended. One that was not published
// says nothing about the feed.
func (u *upstream) published(n int64, err error) {
	h := &u.heard
	h.landed(n)
	for i := range h.probes {
		if h.probes[i].n != n {
			continue
		}
		if err != nil {
			u.f.log.Debug("could not publish a probe", "master", u.name, "err", err)
			h.probes = append(h.probes[:i], h.probes[i+1:]...)
			return
		}
		h.probes[i].published = true
		return
	}
}

// landed: the next probe may be sent. A probe may be back before Redis's answer
// to its publishing is; the beat that comes in between must not be skipped.
func (h *hearing) landed(n int64) {
	if h.flying == n {
		h.flying = 0
	}
}

// message acts on a notice. One of another form is nothing to us: whoever can
// publish here can do worse, and must not stop this node.
func (s *shardCtl) message(payload string) {
	word, rest, _ := strings.Cut(payload, " ")
	var err error
	switch word {
	case "probe":
		err = s.sub.up.haveProbe(rest)
	case "taken":
		err = s.haveTaken(rest)
	case "late", "replay":
		err = s.c.haveQuestion(s.shard, word, rest)
	case "answer":
		err = s.c.haveAnswer(rest)
	} // else a notice of a newer version
	if err != nil {
		s.c.f.complainAt(s.sub.up, "a notice to this node is not understood", err)
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

func (u *upstream) haveProbe(number string) error {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return errMalformed
	}
	h := &u.heard
	for i, p := range h.probes {
		if p.n == n {
			h.landed(n)
			u.probeBack.Store(int64(max(1, p.sent.Sub(u.f.started))))
			h.probes = append(h.probes[:0], h.probes[i+1:]...)
			u.showProbeAge()
			return nil
		}
	}
	return nil
}
