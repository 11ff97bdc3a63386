package redisstore

import (
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The masters as the feed sees them. Each has a link, which brings the channels
// of its slots, and shows by echoes and probes that it does. With one master
// there is one upstream; in a Cluster they come and go, and a channel changes
// its upstream when its slot changes its master:
//
//	setMasters ─▶ links to the new ones ─▶ every channel to the master of its slot
//	                                        └─ confirmed there ─▶ check (check.go)
//
// All of them bring to the one loop, so a room that moves keeps what it knows.

// source is a master that events come from.
type source struct {
	name   string // address, the metrics' label
	client *redis.Client
}

// upstream is a source with its link. Owned by the loop.
type upstream struct {
	f *feed
	source
	link     *link // nil between two attempts
	attempts int   // of connecting, since the last success
	echo     echoes
	heard    hearing
	gone     bool // it is no master any more

	suspected bool // rooms hold, until it is known to be the server that it was

	// atomic
	probeBack atomic.Int64 // when the newest probe that came back was sent, as ns since started; 0 none
}

// hearing is the state of the notices to this node that come from one master.
type hearing struct {
	shards []*shardCtl   // whose channels are here
	sub    *subscription // that which has the probes, of the first of shards; nil: there is none
	on     int           // how many are confirmed
	before bool          // all were confirmed once: what came between may be lost
	sure   bool          // nothing is lost, as far as we can know
	round  int           // of looking back
	moved  int           // connections that it found to be another node's
	probes []probe       // published and not back, oldest first
	flying int64         // the probe that is being published; 0: none. One that is back is not
}

// errNoMaster: this server is no master any more, or serves no slot.
var errNoMaster = errors.New("this server is no master any more")

// setMasters has the feed listen to these masters, and finds for each channel
// the one that route names. It never blocks.
func (f *feed) setMasters(list []source, route func(channel string) string) {
	f.post(func() { f.follow(list, route) })
}

// follow is setMasters, on the loop.
func (f *feed) follow(list []source, route func(channel string) string) {
	f.route = route
	had := f.ups
	f.ups = nil
	for _, s := range list {
		i := slices.IndexFunc(had, func(u *upstream) bool { return u.name == s.name })
		if i >= 0 {
			f.ups = append(f.ups, had[i])
			continue
		}
		u := &upstream{f: f, source: s}
		f.ups = append(f.ups, u)
		u.connect()
	}
	for _, s := range f.subs {
		switch u := f.upstreamOf(s.name); {
		case u == nil && !slices.Contains(f.ups, s.up):
			s.move(f.ups[0]) // which asks nobody, see request
		case u != nil && u != s.up:
			s.move(u)
		}
	}
	f.after(f.doubted, f.release)
	f.met()
	f.placeNotices()
	for _, u := range had {
		if !slices.Contains(f.ups, u) {
			u.end()
		}
	}
}

// upstreamOf is the one that brings a channel; nil: its master is not known yet.
func (f *feed) upstreamOf(channel string) *upstream {
	if !f.crowded() {
		return f.ups[0]
	}
	name := f.route(channel)
	for _, u := range f.ups {
		if u.name == name {
			return u
		}
	}
	return nil
}

// end gives the upstream up.
func (u *upstream) end() {
	u.gone = true
	u.f.metrics.FeedProbeAge.DeleteLabelValues(u.name)
	if u.link != nil {
		u.abandon(errNoMaster)
	}
}

// placeNotices finds which notices come from which master.
func (f *feed) placeNotices() {
	shardsOf := make(map[*upstream][]*shardCtl)
	for _, s := range f.ctl.shards {
		shardsOf[s.sub.up] = append(shardsOf[s.sub.up], s)
	}
	var table [shards]*upstream
	for i := range table {
		table[i] = f.ups[0]
	}
	for _, u := range f.ups {
		list := shardsOf[u]
		for _, s := range list {
			table[s.shard] = u
		}
		if slices.Equal(list, u.heard.shards) {
			continue
		}
		u.deaf()
		u.heard.shards, u.heard.sub = list, nil
		if len(list) > 0 {
			u.heard.sub = list[0].sub
		}
		for _, s := range list {
			if s.on = s.sub.on; s.on {
				u.heard.on++
			}
		}
		if u.hears() {
			u.allConfirmed()
		}
	}
	f.listening.Store(&table)
}

// deaf: the notices from here have to be confirmed anew.
func (u *upstream) deaf() {
	h := &u.heard
	h.on, h.sure, h.probes = 0, false, nil
	h.round++
	u.f.ctl.close() // parts of answers may be missing
	for _, s := range h.shards {
		s.on = false
	}
}

// hears reports whether all that is published here for this node arrives.
func (u *upstream) hears() bool { return u.heard.on == len(u.heard.shards) && u.heard.on > 0 }

// probeAge returns for how long it has not been shown that what is published on
// this master reaches this node: the age of the newest probe that came back,
// counted from when it was sent. Without one it is more than a century.
func (u *upstream) probeAge() time.Duration {
	if u == nil {
		return math.MaxInt64
	}
	back := u.probeBack.Load()
	if back == 0 {
		return math.MaxInt64
	}
	return time.Since(u.f.started) - time.Duration(back)
}

func (u *upstream) showProbeAge() {
	if u.gone || u.heard.sub == nil {
		return
	}
	age := min(u.probeAge(), time.Since(u.f.started))
	u.f.metrics.FeedProbeAge.WithLabelValues(u.name).Set(age.Seconds())
}
