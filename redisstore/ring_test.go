package redisstore

import (
	"slices"
	"testing"
	"time"

	presence "presencesets"
)

// kept is what a past keeps in these tests.
var kept = retained{events: 10, bytes: 1 << 20, age: time.Minute}

// told adds a step of events to p.
func (p *past) told(from, to presence.Revision, broken bool, events ...*presence.Event) {
	for _, e := range events {
		p.tell(e, kept)
	}
	p.step(from, to, broken, 0, kept)
}

func joined(rev presence.Revision) *presence.Event {
	return &presence.Event{Kind: presence.KindJoin, Revision: rev, Client: []byte(`"c"`), Data: []byte(`1`)}
}

func ofKind(kind presence.Kind, rev presence.Revision) *presence.Event {
	e := joined(rev)
	e.Kind = kind
	return e
}

func revisions(events []*presence.Event) (list []presence.Revision) {
	for _, e := range events {
		list = append(list, e.Revision)
	}
	return list
}

func TestPastGoesOnOnlyBetweenSteps(t *testing.T) {
	var p past
	p.begin(10)
	p.told(10, 11, false, joined(11))
	p.told(11, 20, true, joined(15), joined(20)) // a comparison: what was between is not known
	p.told(20, 21, false, joined(21))
	p.told(21, 30, true) // a comparison that found no difference
	p.told(30, 31, false, joined(31))
	for _, test := range []struct {
		handed presence.Revision
		want   []presence.Revision
		ok     bool
	}{
		{0, nil, false},
		{emptyRoom, nil, false}, // it began with members
		{9, nil, false},
		{10, []presence.Revision{11, 15, 20, 21, 31}, true},
		{11, []presence.Revision{15, 20, 21, 31}, true},
		{15, nil, false},
		{20, []presence.Revision{21, 31}, true},
		{25, nil, false},
		{30, []presence.Revision{31}, true},
		{31, nil, true},
		{32, nil, false}, // not here yet
	} {
		events, ok := p.after(test.handed, 31)
		if got := revisions(events); ok != test.ok || !slices.Equal(got, test.want) {
			t.Errorf("after %d: %v, %v; want %v, %v", test.handed, got, ok, test.want, test.ok)
		}
	}
}

func TestPastOfAnEmptyRoomServesWhoSawItEmpty(t *testing.T) {
	var p past
	p.begin(0)
	if events, ok := p.after(emptyRoom, 0); !ok || len(events) != 0 {
		t.Errorf("after the empty room, before anything came: %v, %v", events, ok)
	}
	if _, ok := p.after(5, 0); ok {
		t.Error("an empty room knows of a life before it")
	}
	p.told(0, 100, false, joined(100))
	if events, ok := p.after(emptyRoom, 100); !ok || len(events) != 1 {
		t.Errorf("after the empty room: %v, %v", revisions(events), ok)
	}
	if _, ok := p.after(50, 100); ok {
		t.Error("a life before the empty room is known")
	}
	if events, ok := p.after(100, 100); !ok || len(events) != 0 {
		t.Errorf("after the last: %v, %v", revisions(events), ok)
	}
	if got := p.back(presence.Handed{Revision: 100}, 1, func(*presence.Event) int { return 1 }); got != emptyRoom {
		t.Errorf("back over the first event is %d, want the empty room", got)
	}
}

func TestPastIsBounded(t *testing.T) {
	var p past
	p.begin(100)
	for rev := presence.Revision(101); rev <= 150; rev++ {
		p.told(rev-1, rev, false, joined(rev))
	}
	if n := len(p.ring.list); n != kept.events || p.base != 140 {
		t.Errorf("%d events are kept behind %d, want %d behind 140", n, p.base, kept.events)
	}
	if _, ok := p.after(139, 150); ok {
		t.Error("a revision before the base is served")
	}

	few := retained{events: 10, bytes: 3 * eventCost(joined(1)), age: time.Minute}
	p.begin(100)
	for rev := presence.Revision(101); rev <= 150; rev++ {
		p.tell(joined(rev), few)
		p.step(rev-1, rev, false, 0, few)
	}
	if n := len(p.ring.list); n != 3 || p.ring.bytes != few.bytes {
		t.Errorf("%d events of %d bytes are kept, want 3 of %d", n, p.ring.bytes, few.bytes)
	}

	p.step(150, 150, false, 2*time.Minute, few)
	if p.ring != nil || p.base != 150 {
		t.Errorf("after its age there is %+v", p)
	}

	// A step goes as a whole, and one that is larger than a ring is not kept.
	p.begin(100)
	p.told(100, 110, true, joined(103), joined(104), joined(110))
	for rev := presence.Revision(111); rev <= 118; rev++ {
		p.told(rev-1, rev, false, joined(rev))
	}
	if p.base != 110 || len(p.ring.list) != 8 {
		t.Errorf("%d events are kept behind %d, want 8 behind 110", len(p.ring.list), p.base)
	}
	var many []*presence.Event
	for rev := presence.Revision(120); rev < 140; rev++ {
		many = append(many, joined(rev))
	}
	p.told(118, 140, true, many...)
	if p.ring != nil || p.base != 140 || p.empty {
		t.Errorf("after a step that is too large: %+v", p)
	}
}

func TestPastStepsBackOverWhatAPeerDidNotTake(t *testing.T) {
	frame := func(*presence.Event) int { return 100 }
	var p past
	p.begin(10)
	p.told(10, 11, false, ofKind(presence.KindJoin, 11))
	p.told(11, 12, false, ofKind(presence.KindUpdate, 12))
	p.told(12, 20, true, ofKind(presence.KindUpdate, 15), ofKind(presence.KindJoin, 20))
	p.told(20, 21, false, ofKind(presence.KindUpdate, 21))
	p.told(21, 22, false, ofKind(presence.KindUpdate, 22))
	joins := uint8(1 << (presence.KindJoin - 1))
	for _, test := range []struct {
		h     presence.Handed
		bytes int
		want  presence.Revision
	}{
		{presence.Handed{Revision: 22}, 0, 22},
		{presence.Handed{Revision: 22}, 1, 21},
		{presence.Handed{Revision: 22}, 100, 21},
		{presence.Handed{Revision: 22}, 101, 20},
		{presence.Handed{Revision: 22}, 201, 12}, // the whole step
		{presence.Handed{Revision: 21}, 100, 20},
		{presence.Handed{Revision: 15}, 0, 12}, // a part of a step
		{presence.Handed{Revision: 22}, 1 << 20, 10},
		{presence.Handed{Revision: 22, Kinds: joins}, 1, 12},
		{presence.Handed{Revision: 22, Kinds: joins}, 101, 10},
		{presence.Handed{Revision: 0}, 100, 0},
		{presence.Handed{Revision: 5}, 100, 5}, // not known here
		{presence.Handed{Revision: emptyRoom}, 100, emptyRoom},
	} {
		if got := p.back(test.h, test.bytes, frame); got != test.want {
			t.Errorf("back from %+v over %d bytes is %d, want %d", test.h, test.bytes, got, test.want)
		}
	}
}
