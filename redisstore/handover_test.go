package redisstore

import (
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestKeptRoomOutlivesItsWatchers(t *testing.T) {
	r := newRig(t, redistest.Shared(t))
	r.feed.linger = 0
	r.start()
	r.follow("a")
	r.follow("b")
	r.keep(rigApp, []string{"a", "nowhere"}, time.Hour)
	r.unwatch(rigApp, "a")
	r.unwatch(rigApp, "b")
	r.until("the other room is gone", func() bool { return r.rooms[roomID{rigApp, "b"}] == nil })
	rev := r.put("a", 1, `1`)
	r.until("the kept room got an event", func() bool {
		a := r.rooms[roomID{rigApp, "a"}]
		return a != nil && a.replica.last == rev
	})

	// Kept while it lingers already.
	r.onLoop(func() { r.feed.linger = 50 * time.Millisecond })
	r.follow("c")
	r.unwatch(rigApp, "c")
	r.keep(rigApp, []string{"c"}, time.Hour)
	var c *hosted
	var first *time.Timer
	r.onLoop(func() { c = r.rooms[roomID{rigApp, "c"}]; first = c.linger })
	r.until("its first time is over", func() bool { return c.linger != first })
	r.onLoop(func() {
		if c.gone {
			t.Error("the room is gone although it is to be kept")
		}
		for _, h := range []*hosted{c, r.rooms[roomID{rigApp, "a"}]} {
			h.keep = time.Time{}
			h.endAfter(0)
		}
	})
	r.until("all rooms are gone", func() bool { return len(r.rooms) == 0 })
}

func TestCoveringStepsBackOverWhatWasNotTaken(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	s := r.follow("a")
	r.put("a", 1, `1`)
	second := r.put("a", 2, `2`)
	third := r.put("a", 3, `3`)
	s.waitFor(3)
	cover := func(unsent int) []presence.Handed {
		t.Helper()
		got := make(chan []presence.Handed, 1)
		r.covering([]presence.Handed{{Room: "a", Revision: third}, {Room: "b", Revision: 77}, {Room: "a"}}, rigApp, unsent, func(l []presence.Handed) { got <- l })
		select {
		case l := <-got:
			return l
		case <-time.After(waitFor):
			t.Fatal("covering is not answered")
			panic("unreachable")
		}
	}
	for unsent, want := range map[int]presence.Revision{0: third, 1: second, 100_000: emptyRoom} {
		if l := cover(unsent); l[0].Revision != want || l[1].Revision != 77 || l[2].Revision != 0 {
			t.Errorf("over %d bytes: %+v, want %d, 77 and 0", unsent, l, want)
		}
	}
	r.end()
	if l := cover(1); l[0].Revision != third {
		t.Errorf("a closed feed says %+v", l)
	}
}

func TestQuietRoomsKeepNothing(t *testing.T) {
	r := newRig(t, redistest.Shared(t))
	r.feed.retained.age = 20 * time.Millisecond
	r.start()
	busy, quiet := r.follow("busy"), r.follow("quiet")
	for i := range 20 {
		r.put("busy", byte(i), `1`)
	}
	busy.waitFor(20)
	r.onLoop(func() {
		if p := &r.rooms[roomID{rigApp, "quiet"}].past; p.ring != nil {
			t.Error("a room in which nothing happened has a ring")
		}
	})
	r.until("the ring is forgotten", func() bool {
		p := &r.rooms[roomID{rigApp, "busy"}].past
		return p.ring == nil && p.base > 0 && len(r.ageing.list) == 0 && !r.ageing.set
	})
	r.expectTold(quiet)
	r.put("busy", 50, `1`) // and it begins again
	busy.waitFor(21)
	r.until("the ring is forgotten again", func() bool { return r.rooms[roomID{rigApp, "busy"}].past.ring == nil })
}

func TestDetachWritesFromWhereAReplayGoesOn(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	attachNode(a)
	sub := host(t, a, "a")
	c := connect(t, a)
	c.enter(t, a, "a")
	first := sub.waitFor(1)[0].Revision
	last := must(t, a, c.op(presence.OpUpdate, "a")).Revision
	sub.waitRev(last)
	d := c.handed("a", last)
	d.Unsent = 1
	a.Detach(d)
	awaitDepartures(t, a)
	was := must(t, b, c.resume()).Restored
	if len(was.Rooms) != 1 || was.Rooms[0].Handed != first || was.From != a.Stamp() {
		t.Fatalf("restored %+v, want the room from %d", was, first)
	}
	op, _ := resumeWatch(t, b, "a", presence.Replay{Conn: c.conn, Handed: was.Rooms[0].Handed, From: was.From, Lost: was.Lost})
	if got := revisions(op.Replayed); len(got) != 1 || got[0] != last {
		t.Errorf("replayed %d, want %d", got, last)
	}
	wantReplays(t, b, "peer", 1)
}

// A socket that is found lost when another has its connection already tells what
// it was handed, too.
func TestDetachOfATakenSocketIsAHandover(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	attachNode(a)
	sub := host(t, a, "a")
	c := connect(t, a)
	c.enter(t, a, "a")
	first := sub.waitFor(1)[0].Revision
	last := must(t, a, c.op(presence.OpUpdate, "a")).Revision
	sub.waitRev(last)
	lost := c.handed("a", first)
	was := must(t, b, c.resume()).Restored
	asked := submit(t, b, presence.Op{
		Kind: presence.OpWatch, App: app, Room: "a", Sink: newSubscriber(t), Replay: &presence.Replay{Conn: c.conn, From: was.From},
	})
	a.Detach(lost)
	if got := revisions(asked.next(t).Replayed); len(got) != 1 || got[0] != last {
		t.Errorf("replayed %d, want %d", got, last)
	}
	wantReplays(t, b, "peer", 1)
}

func TestDoubtComparesEveryRoomWhateverItsRevisionSays(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	s := r.follow("a")
	r.put("a", 1, `1`)
	rev := r.put("a", 2, `2`)
	empty := r.follow("empty")
	s.waitFor(2)
	list := r.stored("a")
	// The same revision, with other members below it.
	key := r.feed.keys.members(rigApp, "a")
	value, err := r.redis.HGet(t.Context(), key, conn(2).String()).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.redis.HDel(t.Context(), key, conn(2).String()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.redis.HSet(t.Context(), key, conn(3).String(), value).Err(); err != nil {
		t.Fatal(err)
	}
	r.doubt(r.ups[0].name, rev+5000)
	s.waitFor(4)
	r.expectFold("a", list, s)
	if got := r.stored("a").Revision; got < rev+5000 {
		t.Errorf("the room is at %d, below the floor %d", got, rev+5000)
	}
	r.expectTold(empty)
	r.put("a", 4, `4`)
	s.waitFor(5)
	r.expectFold("a", list, s)
}
