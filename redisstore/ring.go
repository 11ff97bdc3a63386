package redisstore

import (
	"sort"
	"time"

	presence "presencesets"
)

// The past of a hosted room: what its subscribers were told lately, so that a
// subscription that is resumed can be told what its socket missed.
//
//	base ──┬── step ──┬── step ──┬── step ──▶ last
//	     from        to
//
// It is made of steps: the events that one event of Redis, or one comparison
// with a snapshot (resync.go), made us tell. To have been told a part of a step
// of the second kind is to know no state that the room was ever in, by our
// word. So who was told up to some revision is told the steps behind it, and
// that works where the revision is between two steps. One that is inside a step
// was told by another node, of events that this one did not get: what we know
// does not go on from there.
//
// A room that had no event for a while has no ring: base is all that it keeps.

// emptyRoom stands for the revision of a room that was empty when its
// subscriber came, and in which nothing came since.
const emptyRoom = presence.Revision(1)

// told is one event that subscribers were told, and the step that it is of.
type told struct {
	event    *presence.Event // nil: the step told nothing, but something may have been missed in it
	from, to presence.Revision
	at       time.Duration // on the feed's clock
}

// retained says how much of the past a room keeps.
type retained struct {
	events int
	bytes  int           // of what the events carry, about
	age    time.Duration // at least; up to twice that without further events
}

// past is what was told of a room after base.
type past struct {
	base  presence.Revision
	empty bool // base is the empty room that the first snapshot showed
	ring  *steps
}

// steps holds events by their steps, oldest first.
type steps struct {
	list  []told
	bytes int
	open  int  // events at the end of list whose step is not closed
	over  bool // the open step is larger than the ring may be: it is not kept
}

// eventWeight is the memory that an event takes beside its client and data.
const eventWeight = 256

func eventCost(e *presence.Event) int {
	if e == nil {
		return eventWeight
	}
	return eventWeight + len(e.Client) + len(e.Data)
}

// begin is called with the first snapshot.
func (p *past) begin(last presence.Revision) { p.base, p.empty, p.ring = last, last == 0, nil }

// tell adds an event to the step that is open.
func (p *past) tell(e *presence.Event, most retained) {
	if p.ring == nil {
		p.ring = new(steps)
	}
	g := p.ring
	if g.over {
		return
	}
	g.list = append(g.list, told{event: e})
	g.bytes += eventCost(e)
	if g.open++; g.open > most.events || g.bytes > most.bytes && g.open == len(g.list) {
		*g = steps{over: true}
	}
}

// step closes the step that took subscribers from one revision to the other.
// broken says that it was not a single event: some may have been missed.
func (p *past) step(from, to presence.Revision, broken bool, now time.Duration, most retained) {
	switch {
	case p.ring != nil && p.ring.over:
		*p = past{base: to}
		return
	case p.ring != nil && p.ring.open > 0:
		for i := len(p.ring.list) - p.ring.open; i < len(p.ring.list); i++ {
			t := &p.ring.list[i]
			t.from, t.to, t.at = from, to, now
		}
		p.ring.open = 0
	case broken && from < to:
		p.tell(nil, most)
		p.ring.open = 0
		p.ring.list[len(p.ring.list)-1] = told{from: from, to: to, at: now}
	}
	p.trim(now, most)
}

// trim forgets the oldest steps: what is too much, and what is too old.
func (p *past) trim(now time.Duration, most retained) {
	if p.ring == nil {
		return
	}
	g := p.ring
	n := 0
	for n < len(g.list) && (len(g.list)-n > most.events || g.bytes > most.bytes || now-g.list[n].at > most.age) {
		for to := g.list[n].to; n < len(g.list) && g.list[n].to == to; n++ { // a step goes as a whole
			g.bytes -= eventCost(g.list[n].event)
			p.base, p.empty = to, false
			g.list[n] = told{}
		}
	}
	if g.list = g.list[n:]; len(g.list) == 0 {
		p.ring = nil
	}
}

// position is handed as revisions are compared here; ok is false when nothing
// is known of what came after it.
func (p *past) position(handed presence.Revision) (at presence.Revision, ok bool) {
	if handed == emptyRoom {
		return 0, p.empty
	}
	return handed, handed > 0 && handed >= p.base
}

// next is the index of the first event in a step that goes above rev.
func (g *steps) next(rev presence.Revision) int {
	return sort.Search(len(g.list), func(i int) bool { return g.list[i].to > rev })
}

// after returns what was told after handed, in a room that was told up to last.
// ok is false when that is not known.
func (p *past) after(handed, last presence.Revision) (events []*presence.Event, ok bool) {
	at, ok := p.position(handed)
	switch {
	case !ok || at > last:
		return nil, false
	case p.ring == nil:
		return nil, at >= p.base
	}
	i := p.ring.next(at)
	if i < len(p.ring.list) && p.ring.list[i].from < at {
		return nil, false
	}
	for _, t := range p.ring.list[i:] {
		if t.event != nil {
			events = append(events, t.event)
		}
	}
	return events, true
}

// behind returns what was told behind the account of another node, given now,
// that ends at last, and where it ends itself. A room that was empty at first
// has no revision to compare with: then what the account tells is of an earlier
// life of it, the leaves that emptied it among that, or was told here, too.
func (p *past) behind(account, last presence.Revision) (events []*presence.Event, at presence.Revision, ok bool) {
	if p.empty && (p.ring == nil || p.ring.list[0].to > account) {
		events, _ = p.after(emptyRoom, last)
		return events, max(account, last), true
	}
	events, ok = p.after(max(account, emptyRoom), last)
	return events, last, ok
}

// back returns the revision from which a replay covers the last bytes that a
// socket was sent, and the whole of a step of which it was sent a part. frame is
// the least that an event is on the socket.
func (p *past) back(h presence.Handed, bytes int, frame func(*presence.Event) int) presence.Revision {
	at, ok := p.position(h.Revision)
	if !ok || p.ring == nil {
		return h.Revision
	}
	list := p.ring.list
	i := p.ring.next(at)
	if i < len(list) && list[i].from < at {
		at = list[i].from
	}
	for i--; i >= 0 && bytes > 0; i-- {
		if e := list[i].event; e != nil && h.Sent(e.Kind) {
			bytes -= frame(e)
			at = list[i].from
		}
	}
	if at == 0 {
		return emptyRoom
	}
	return at
}

// closeStep notes what the room's subscribers were told since from.
func (r *hosted) closeStep(from presence.Revision, broken bool) {
	r.past.step(from, r.replica.last, broken, time.Since(r.f.started), r.f.retained)
	if r.past.ring != nil && !r.ages {
		r.ages = true
		r.f.ageing.push(r)
	}
}

// ageing is the rooms that have a ring, in the order in which they are looked
// at for steps that are too old.
type ageing struct {
	f    *feed
	list []aged
	set  bool // the next look is due
}

type aged struct {
	room *hosted
	at   time.Duration // on the feed's clock
}

func (a *ageing) push(r *hosted) {
	a.list = append(a.list, aged{r, time.Since(a.f.started) + a.f.retained.age})
	if !a.set {
		a.set = true
		a.f.after(a.f.retained.age, a.look)
	}
}

// look trims the rooms whose time has come.
func (a *ageing) look() {
	now := time.Since(a.f.started)
	for len(a.list) > 0 && a.list[0].at <= now {
		r := a.list[0].room
		a.list[0] = aged{}
		a.list = a.list[1:]
		r.ages = false
		if r.past.trim(now, a.f.retained); r.past.ring != nil && !r.gone {
			r.ages = true
			a.push(r)
		}
	}
	if a.set = len(a.list) > 0; a.set {
		a.f.after(a.list[0].at-now+time.Millisecond, a.look)
	}
}
