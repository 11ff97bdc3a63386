package redisstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// TestALateJoinIsEndedAtTheFence sends a join of the earlier owner behind the
// leave of the later one: the room cannot tell that it is late.
func TestALateJoinIsEndedAtTheFence(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1", watchful), openStore(t, srv, prefix, "n2", watchful)
	seen := listen(t, rdb, a.keys, "left", "back", "stays", "late")
	c := connect(t, a)
	c.enter(t, a, "left", "back", "stays")
	must(t, a, c.op(presence.OpTrack, "late"))
	old := c
	before := redisMs(t, b)
	c.resumed(t, b)
	b.fences.add(c.conn, c.inc, before-60_000) // the session's is what counts
	for _, room := range []string{"left", "back"} {
		must(t, b, c.op(presence.OpLeave, room))
		must(t, b, c.op(presence.OpUntrack, room))
	}
	fields := c.session(t, rdb, a.keys)
	if got := fields[roomField(app, "left")]; got != "x 0 {}" {
		t.Errorf("the room that was left is listed as %q, want it until the fence", got)
	}
	if fence, ok := parseDecimal([]byte(fields["fence"])); !ok || fence < before+b.fenceTime().Milliseconds() {
		t.Errorf("the fence is %q, want %v behind the takeover", fields["fence"], b.fenceTime())
	}
	old.joinByHand(t, rdb, a.keys, "left")
	old.joinByHand(t, rdb, a.keys, "late")
	c.enter(t, b, "back")

	all := seen.await(t, "the late joins are ended", func(all []presence.Event) bool { return counts(all, presence.KindLeave)[c.conn] == 4 })
	if at := redisMs(t, b); at < before+b.fenceTime().Milliseconds() {
		t.Errorf("they are ended %d ms behind the takeover, before the fence", at-before)
	}
	for _, e := range all[len(all)-2:] {
		if e.Kind != presence.KindLeave || e.Inc != old.inc || e.Reason != presence.ReasonRoomLeft && e.Reason != presence.ReasonUnknown {
			t.Errorf("got %+v, want the leave of what came late", e)
		}
	}
	awaitThat(t, "the fence is gone", func() bool { return c.session(t, rdb, a.keys)["fence"] == "" })
	fields = c.session(t, rdb, a.keys)
	for room, want := range map[string]string{"left": "", "back": "p 0 {}", "stays": "p 0 {}", "late": "p 0 {}"} {
		if got := fields[roomField(app, room)]; got != want {
			t.Errorf("%s is listed as %q, want %q", room, got, want)
		}
	}
	awaitThat(t, "the sweep is counted", func() bool { return testutil.ToFloat64(b.metrics.FenceSweeps) == 1 })
	if n := fencesOf(b); n != 0 {
		t.Errorf("%d fences are kept behind the sweep", n)
	}
	if n := testutil.ToFloat64(b.metrics.FencedOperations); n != 0 {
		t.Errorf("%v operations of the sweep are counted as fenced", n)
	}
	for _, room := range []string{"back", "stays"} {
		must(t, b, c.op(presence.OpUpdate, room))
	}
	b.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
}

// TestASweepLeavesWhatCameMeanwhile reads the session before its client comes
// back to a room that it had left, and goes on behind that.
func TestASweepLeavesWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	if err := rdb.HSet(t.Context(), s.keys.session(c.conn), "fence", redisMs(t, s)-60_000).Err(); err != nil {
		t.Fatal(err)
	}
	var list []string
	for field, value := range c.session(t, rdb, s.keys) {
		if field == roomField(app, "lobby") {
			value = "x 0 {}"
		}
		list = append(list, field, value)
	}
	(&sweep{fences: s.fences, fenced: &fenced{conn: c.conn, inc: c.inc, index: -1}, store: s}).haveRead(list)
	awaitThat(t, "the fence is gone", func() bool { return c.session(t, rdb, s.keys)["fence"] == "" })
	if got := c.session(t, rdb, s.keys)[roomField(app, "lobby")]; got != "p 0 {}" {
		t.Errorf("the room is listed as %q", got)
	}
	must(t, s, c.op(presence.OpUpdate, "lobby"))
}

// TestAFenceIsSweptByWhoHasTheConnection: the entry of one that ended here is
// dropped, and one that went on finds nothing of its own.
func TestAFenceIsSweptByWhoHasTheConnection(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1", watchful), openStore(t, srv, prefix, "n2", watchful)
	closed, lost, taken := connect(t, a), connect(t, a), connect(t, a)
	for _, c := range []*client{&closed, &lost, &taken} {
		c.enter(t, a, "lobby")
		c.resumed(t, b)
	}
	if n := fencesOf(b); n != 3 {
		t.Fatalf("%d connections have a fence, want 3", n)
	}
	b.Depart(closed.departure(presence.ReasonClosed))
	b.Detach(lost.detachment())
	if n := fencesOf(b); n != 1 {
		t.Errorf("%d connections have a fence, want the one that is there", n)
	}
	seen := listen(t, rdb, a.keys, "lobby")
	before := taken
	taken.resumed(t, a)
	must(t, a, taken.op(presence.OpLeave, "lobby"))
	before.joinByHand(t, rdb, a.keys, "lobby")
	seen.await(t, "the late join is ended", func(all []presence.Event) bool { return counts(all, presence.KindLeave)[taken.conn] == 2 })
	awaitThat(t, "nobody keeps a fence", func() bool { return fencesOf(a)+fencesOf(b) == 0 })
	if n := testutil.ToFloat64(a.metrics.FenceSweeps); n != 1 {
		t.Errorf("%v sweeps by the one that has it, want 1", n)
	}
	if n := testutil.ToFloat64(b.metrics.FenceSweeps); n != 0 {
		t.Errorf("%v sweeps by the one that had it, want 0", n)
	}
	taken.wantState(t, rdb, a.keys, "live")
}

// TestASweepThatIsNotAnsweredComesAgain has Redis hang at the fence.
func TestASweepThatIsNotAnsweredComesAgain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", watchful)
	c := connect(t, s)
	c.enter(t, s, "lobby")
	c.resumed(t, s)
	must(t, s, c.op(presence.OpLeave, "lobby"))
	must(t, s, c.op(presence.OpUntrack, "lobby"))
	srv.Pause(t)
	awaitThat(t, "a sweep was not answered", func() bool {
		s.fences.mu.Lock()
		defer s.fences.mu.Unlock()
		f := s.fences.all[c.conn]
		return f != nil && f.from != 0
	})
	srv.Resume(t)
	awaitThat(t, "the room and the fence are gone", func() bool {
		fields := c.session(t, rdb, s.keys)
		return fields["fence"] == "" && fields[roomField(app, "lobby")] == ""
	})
	awaitThat(t, "nobody keeps it", func() bool { return fencesOf(s) == 0 })
	c.wantState(t, rdb, s.keys, "live")
}

func TestFencesAreSweptInTheOrderOfTheirEnds(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	q := newFences(s) // nothing runs it
	past := redisMs(t, s) - 60_000
	ids := make([]presence.ConnID, 5)
	for i := range ids {
		ids[i] = presence.NewConnID()
		q.add(ids[i], 1, past+[]int64{4, 1, 3, 120_000, 2}[i])
	}
	q.add(ids[1], 2, past+5) // resumed again
	q.drop(ids[4], 1)
	q.drop(ids[1], 1) // what ended was before it
	for _, want := range []int{2, 0, 1} {
		if f, _ := q.next(); f == nil || f.conn != ids[want] {
			t.Fatalf("next: got %+v, want connection %d", f, want)
		}
	}
	if f, wait := q.next(); f != nil || wait < time.Second || wait > time.Hour {
		t.Errorf("next: got %+v and %v; want none, until the last one's end", f, wait)
	}
	if q.busy != 3 {
		t.Errorf("%d are under way, want 3", q.busy)
	}
}

// fencesOf counts the connections of a store that have a fence.
func fencesOf(s *Store) int {
	s.fences.mu.Lock()
	defer s.fences.mu.Unlock()
	return len(s.fences.all)
}

// TestASweepKeepsWhatWasTrackedSinceItLooked: between its look at the session
// and its untrack the connection came back to the room.
func TestASweepKeepsWhatWasTrackedSinceItLooked(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	q := newFences(s) // nothing runs it
	f := &fenced{conn: c.conn, inc: c.inc, fence: redisMs(t, s) - 1000, index: -1}
	q.all[c.conn], q.busy = f, 1
	w := &sweep{fences: q, fenced: f, store: s}
	w.haveRead([]string{
		"inc", fmt.Sprint(c.inc), "state", "live", "fence", fmt.Sprint(f.fence), roomField(app, "lobby"), "x 0 {}",
	})
	awaitThat(t, "the sweep is done", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.all) == 0
	})
	if got := c.session(t, rdb, s.keys)[roomField(app, "lobby")]; got != "p 0 {}" {
		t.Errorf("the room is listed as %q", got)
	}
	wantMembers(t, s, "lobby", c)
	c.awaitEnd(t, s)
}
