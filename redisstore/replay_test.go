package redisstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// nodeEdge is the edge of a store in these tests.
type nodeEdge struct {
	mu    sync.Mutex
	held  []presence.Held
	late  map[presence.ConnID][][]byte
	asked int // for its connections
	taken chan presence.Held
}

// attach gives s an edge.
func attachNode(s *Store) *nodeEdge {
	e := &nodeEdge{late: make(map[presence.ConnID][][]byte), taken: make(chan presence.Held, 100)}
	s.Attach(e)
	return e
}

// Taken forgets the connection, as a node does, and notes it.
func (e *nodeEdge) Taken(conn presence.ConnID, inc int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = slices.DeleteFunc(e.held, func(h presence.Held) bool { return h.Conn == conn && h.Inc < inc })
	e.taken <- presence.Held{Conn: conn, Inc: inc}
}

func (e *nodeEdge) Late(conn presence.ConnID, answer func([][]byte)) {
	e.mu.Lock()
	payloads := e.late[conn]
	delete(e.late, conn)
	e.mu.Unlock()
	answer(payloads)
}

func (e *nodeEdge) Connections(answer func([]presence.Held)) {
	e.mu.Lock()
	held := slices.Clone(e.held)
	e.asked++
	e.mu.Unlock()
	answer(held)
}

func (e *nodeEdge) Reclaim(int64) {}

// hold has the edge hold a connection.
func (e *nodeEdge) hold(c client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = append(e.held, presence.Held{Conn: c.conn, Inc: c.inc})
}

// nextTaken is the next connection that the edge was told to forget.
func (e *nodeEdge) nextTaken(t testing.TB) presence.Held {
	t.Helper()
	select {
	case h := <-e.taken:
		return h
	case <-time.After(waitFor):
		t.Fatal("the edge was not told that a connection was taken")
		panic("unreachable")
	}
}

// loopOf runs do on the loop of s's feed.
func loopOf(t testing.TB, s *Store, do func()) {
	t.Helper()
	done := make(chan struct{})
	if !s.feed.post(func() { do(); close(done) }) {
		t.Fatal("the feed is closed")
	}
	<-done
}

// untilLoop waits until ok says so on the loop of s's feed.
func untilLoop(t testing.TB, s *Store, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitFor)
	for yes := false; !yes; {
		if time.Now().After(deadline) {
			t.Fatalf("waited until %s", what)
		}
		_ = direct(s).Ping(t.Context()).Err() // only to pass the time
		loopOf(t, s, func() { yes = ok() })
	}
}

// host has s host the room, and returns its subscriber and the revision.
func host(t testing.TB, s *Store, room string) *subscriber {
	t.Helper()
	sub := newSubscriber(t)
	op := must(t, s, presence.Op{Kind: presence.OpWatch, App: app, Room: room, Sink: sub})
	sub.since = op.Revision
	return sub
}

// resume watches the room as one that goes on from r.
func resumeWatch(t testing.TB, s *Store, room string, r presence.Replay) (presence.Op, *subscriber) {
	t.Helper()
	sub := newSubscriber(t)
	op := must(t, s, presence.Op{Kind: presence.OpWatch, App: app, Room: room, Sink: sub, Replay: &r})
	return op, sub
}

// saying is what events say, with their revisions.
func saying(events []*presence.Event) (list []string) {
	for _, e := range events {
		list = append(list, fmt.Sprintf("%s %d %s %s %s", e.Kind, e.Revision, e.Conn, e.Client, e.Data))
	}
	return list
}

// above returns the events that the subscriber was told above rev.
func (s *subscriber) above(rev presence.Revision) (list []*presence.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Revision > rev {
			list = append(list, e)
		}
	}
	return list
}

func wantReplays(t *testing.T, s *Store, source string, want float64) {
	t.Helper()
	if n := testutil.ToFloat64(s.metrics.Replays.WithLabelValues(source)); n != want {
		t.Errorf("%g replays from %s are counted, want %g", n, source, want)
	}
}

// stir has connections of s join, update and leave the room until n events
// came, and returns the revision after each.
func stir(t *testing.T, s *Store, room string, n int) (revs []presence.Revision) {
	t.Helper()
	for len(revs) < n {
		c := connect(t, s)
		c.enter(t, s, room)
		revs = append(revs, must(t, s, c.op(presence.OpJoin, room)).Revision)
		up := c.op(presence.OpUpdate, room)
		up.Data = []byte(`{"text":"a\nb \\ ünï","n":` + strconv.Itoa(len(revs)) + `}`)
		revs = append(revs, must(t, s, up).Revision)
		if len(revs)%3 == 0 {
			revs = append(revs, must(t, s, c.op(presence.OpLeave, room)).Revision)
		}
	}
	return revs
}

func TestReplayFromTheOwnRing(t *testing.T) {
	srv := redistest.Shared(t)
	s := openStore(t, srv, redistest.Prefix(t), "n1")
	sub := host(t, s, "a")
	if sub.since != 0 {
		t.Fatalf("the room begins at %d", sub.since)
	}
	op, _ := resumeWatch(t, s, "a", presence.Replay{Conn: conn(1), Handed: emptyRoom, From: s.Stamp()})
	if len(op.Replayed) != 0 {
		t.Errorf("a room in which nothing came replays %v", saying(op.Replayed))
	}
	wantReplays(t, s, "none", 1)

	sub = host(t, s, "a")
	revs := stir(t, s, "a", 9)
	told := sub.waitRev(revs[len(revs)-1])
	for i, handed := range []presence.Revision{emptyRoom, told[0].Revision, told[3].Revision} {
		op, _ := resumeWatch(t, s, "a", presence.Replay{Conn: conn(1), Handed: handed, From: s.Stamp()})
		var want []*presence.Event
		for _, e := range told {
			if e.Revision > handed {
				want = append(want, e)
			}
		}
		if diff := cmp.Diff(saying(want), saying(op.Replayed)); diff != "" || op.Revision != revs[len(revs)-1] {
			t.Errorf("replay after %d ends at %d (-want +got):\n%s", handed, op.Revision, diff)
		}
		wantReplays(t, s, "ring", float64(i+1))
	}
}

// waitRev waits until the subscriber was told up to rev, and returns all.
func (s *subscriber) waitRev(rev presence.Revision) []*presence.Event {
	s.t.Helper()
	return s.wait(fmt.Sprintf("an event from %d on", rev), func(events []*presence.Event, _ []string) bool {
		return len(events) > 0 && events[len(events)-1].Revision >= rev
	})
}

func TestReplayFromTheOldNode(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	sub := host(t, a, "a")
	revs := stir(t, a, "a", 6)
	handed := revs[1]

	// The new node hosts from somewhere behind that on, and things go on.
	later := host(t, b, "a")
	more := stir(t, a, "a", 6)
	last := more[len(more)-1]
	later.waitRev(last)
	sub.waitRev(last)
	op, _ := resumeWatch(t, b, "a", presence.Replay{Conn: conn(1), Handed: handed, From: a.Stamp()})
	if diff := cmp.Diff(saying(sub.above(handed)), saying(op.Replayed)); diff != "" || op.Revision != last {
		t.Errorf("replay after %d ends at %d, want %d (-want +got):\n%s", handed, op.Revision, last, diff)
	}
	wantReplays(t, b, "peer", 1)

	// One that hosts the room for this resume only.
	c := openStore(t, srv, prefix, "n3")
	op, _ = resumeWatch(t, c, "a", presence.Replay{Conn: conn(1), Handed: handed, From: a.Stamp()})
	if diff := cmp.Diff(saying(sub.above(handed)), saying(op.Replayed)); diff != "" || op.Revision != last {
		t.Errorf("replay after %d ends at %d, want %d (-want +got):\n%s", handed, op.Revision, last, diff)
	}
	wantReplays(t, c, "peer", 1)
}

func TestReplayLargerThanAMessage(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	sub := host(t, a, "a")
	c := connect(t, a)
	c.enter(t, a, "a")
	handed := sub.waitFor(1)[0].Revision
	var last presence.Revision
	for i := range 10 {
		up := c.op(presence.OpUpdate, "a")
		up.Data = []byte(`"` + strings.Repeat(strconv.Itoa(i), 20_000) + `"`)
		last = must(t, a, up).Revision
	}
	sub.waitRev(last)
	op, _ := resumeWatch(t, b, "a", presence.Replay{Conn: c.conn, Handed: handed, From: a.Stamp()})
	if diff := cmp.Diff(saying(sub.above(handed)), saying(op.Replayed)); diff != "" {
		t.Errorf("replay after %d (-want +got):\n%s", handed, diff)
	}
	wantReplays(t, b, "peer", 1)
}

func TestReplayOfWhatATakenSocketWasHanded(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	attachNode(a)
	sub := host(t, a, "a")
	revs := stir(t, a, "a", 6)
	last := revs[len(revs)-1]
	sub.waitRev(last)
	handed := revs[3]
	release := func(c client) {
		a.Release(presence.Detachment{
			App: app, Conn: c.conn, Inc: c.inc, Grace: 10 * time.Second, Handed: []presence.Handed{{Room: "a", Revision: handed}},
		})
	}
	ask := func(c client) outcomes {
		return submit(t, b, presence.Op{
			Kind: presence.OpWatch, App: app, Room: "a", Sink: newSubscriber(t),
			Replay: &presence.Replay{Conn: c.conn, From: a.Stamp()},
		})
	}
	check := func(op presence.Op) {
		t.Helper()
		if diff := cmp.Diff(saying(sub.above(handed)), saying(op.Replayed)); op.Err != nil || diff != "" {
			t.Errorf("replay after %d: %v (-want +got):\n%s", handed, op.Err, diff)
		}
	}

	before := connect(t, a)
	release(before)
	check(ask(before).next(t))

	// The question comes before the old socket knows.
	after := connect(t, a)
	asked := ask(after)
	untilLoop(t, a, "the question waits", func() bool { return len(a.feed.handovers.waiting[after.conn]) == 1 })
	release(after)
	check(asked.next(t))
	wantReplays(t, b, "peer", 2)
	untilLoop(t, a, "nobody waits", func() bool { return len(a.feed.handovers.waiting) == 0 })

	// On the same node.
	own := connect(t, a)
	sub2 := newSubscriber(t)
	asked = submit(t, a, presence.Op{
		Kind: presence.OpWatch, App: app, Room: "a", Sink: sub2, Replay: &presence.Replay{Conn: own.conn, From: a.Stamp()},
	})
	release(own)
	check(asked.next(t))
	wantReplays(t, a, "ring", 1)
}

func TestReleaseIsOneSessionLessAndSilencesWhatWaits(t *testing.T) {
	srv := redistest.Shared(t)
	s := openStore(t, srv, redistest.Prefix(t), "n1")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "a"))
	before := s.sessions.Load()
	s.Release(presence.Detachment{App: app, Conn: c.conn, Inc: c.inc, Grace: time.Second})
	if n := s.sessions.Load(); n != before-1 {
		t.Errorf("%d sessions after a release, want %d", n, before-1)
	}
	if op := do(t, s, c.op(presence.OpJoin, "a")); op.Err == nil {
		t.Error("a join of a connection that was released is sent")
	}
	s.sessions.Add(1) // for the departure below
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
}

func TestReplayFromTheMembers(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	old, mid, young := connect(t, s), connect(t, s), connect(t, s)
	old.enter(t, s, "a")
	handed := must(t, s, old.op(presence.OpUpdate, "a")).Revision
	mid.enter(t, s, "a")
	lost := must(t, s, presence.Op{Kind: presence.OpMembers, App: app, Room: "a"}).Snapshot
	var at int64
	for _, m := range lost.Members {
		at = max(at, m.At)
	}
	for ms := at; ms <= at; { // the next join is later
		now, err := srv.Client(t).Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		ms = now.UnixMilli()
	}
	young.enter(t, s, "a")
	up := must(t, s, mid.op(presence.OpUpdate, "a")).Revision

	want := func(op presence.Op, kinds ...string) {
		t.Helper()
		var got []string
		names := map[presence.ConnID]string{old.conn: "old", mid.conn: "mid", young.conn: "young"}
		for _, e := range op.Replayed {
			got = append(got, e.Kind.String()+" "+names[e.Conn])
		}
		if !slices.Equal(got, kinds) || op.Revision != up {
			t.Errorf("replayed %q at %d, want %q at %d", got, op.Revision, kinds, up)
		}
	}
	dead := "n9.1"
	op, _ := resumeWatch(t, s, "a", presence.Replay{Conn: old.conn, Handed: handed, From: dead, Lost: at})
	want(op, "join young", "update mid")
	op, _ = resumeWatch(t, s, "a", presence.Replay{Conn: old.conn, Handed: 0, From: dead, Lost: at})
	want(op, "join young")
	wantReplays(t, s, "snapshot", 2)
	op, _ = resumeWatch(t, s, "a", presence.Replay{Conn: old.conn, Handed: 0, From: dead})
	want(op)
	op, _ = resumeWatch(t, s, "a", presence.Replay{Conn: old.conn, Handed: up, From: dead, Lost: at})
	want(op)
	op, _ = resumeWatch(t, s, "a", presence.Replay{Conn: old.conn, Handed: emptyRoom, From: "", Lost: at})
	if len(op.Replayed) != 3 {
		t.Errorf("who saw the room empty is told %v", saying(op.Replayed))
	}
}

// A peer that does not answer costs its time, and nothing else.
func TestReplayWithoutAnAnswer(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	c := connect(t, a)
	c.enter(t, a, "a")
	first := must(t, a, c.op(presence.OpUpdate, "a")).Revision
	last := must(t, a, c.op(presence.OpUpdate, "a")).Revision
	block := make(chan struct{})
	a.feed.post(func() { <-block })
	defer close(block)
	op, _ := resumeWatch(t, b, "a", presence.Replay{Conn: c.conn, Handed: first, From: a.Stamp(), Lost: 1 << 50})
	if len(op.Replayed) != 1 || op.Replayed[0].Kind != presence.KindUpdate || op.Revision != last {
		t.Errorf("replayed %v at %d", saying(op.Replayed), op.Revision)
	}
	if data := string(op.Replayed[0].Data); data != `{"n":1}` {
		t.Errorf("the member's data is %s", data)
	}
}

// Whoever goes on from anywhere is told each revision once: in the replay or by
// the sink, while the room never rests and links break.
func TestReplayMeetsTheSinkWithoutHoleOrDouble(t *testing.T) {
	t.Run("one master", func(t *testing.T) { replayMeetsTheSink(t, redistest.Shared(t), connect) })
	t.Run("room and connection on two masters", func(t *testing.T) {
		// The question comes on another link than the events that it is about.
		replayMeetsTheSink(t, redistest.StartCluster(t, 0), func(t testing.TB, s *Store) client {
			for {
				c := connect(t, s)
				join, track := c.op(presence.OpJoin, "a"), c.op(presence.OpTrack, "a")
				if s.masters.of(&join) != s.masters.of(&track) {
					return c
				}
			}
		})
	})
}

func replayMeetsTheSink(t *testing.T, srv interface{ URL() string }, connect func(testing.TB, *Store) client) {
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	sub := host(t, a, "a")
	c := connect(t, a)
	c.enter(t, a, "a")
	handed := sub.waitFor(1)[0].Revision
	stop, stopped := make(chan struct{}), make(chan presence.Revision)
	go func() {
		var rev presence.Revision
		for {
			op := do(t, a, c.op(presence.OpUpdate, "a"))
			if op.Err != nil {
				t.Errorf("update: %v", op.Err)
			}
			rev = op.Revision
			select {
			case <-stop:
				stopped <- rev
				return
			default:
			}
		}
	}()
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	var ends []func(presence.Revision)
	for i := range rounds {
		s, from := b, a
		if i%3 == 2 {
			s = a
		}
		loopOf(t, b, func() { // so that it hosts the room anew
			if r := b.feed.rooms[roomID{app, "a"}]; i%2 == 0 && r != nil && len(r.waiting) == 0 {
				r.end()
			}
		})
		op, live := resumeWatch(t, s, "a", presence.Replay{Conn: c.conn, Handed: handed, From: from.Stamp()})
		at := handed
		for _, e := range op.Replayed {
			if e.Revision != at+1 {
				t.Fatalf("round %d: %d is replayed after %d", i, e.Revision, at)
			}
			at = e.Revision
		}
		if at != op.Revision {
			t.Fatalf("round %d: the replay ends at %d, its answer is %d", i, at, op.Revision)
		}
		ends = append(ends, func(presence.Revision) {
			for _, e := range live.above(op.Revision) {
				if e.Revision != at+1 {
					t.Fatalf("round %d: the sink was told %d after %d", i, e.Revision, at)
				}
				at = e.Revision
			}
		})
		handed = op.Revision
	}
	close(stop)
	last := <-stopped
	for _, end := range ends {
		end(last)
	}
}

// What a comparison told after a broken link is gone on from as events are.
func TestReplayAfterTheLinksBroke(t *testing.T) {
	srv := redistest.Start(t)
	prefix := redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	host(t, a, "a")
	members := func() presence.Snapshot {
		return must(t, a, presence.Op{Kind: presence.OpMembers, App: app, Room: "a"}).Snapshot
	}
	stay := connect(t, a)
	stay.enter(t, a, "a")
	for round := range 6 {
		before := members()
		untilLoop(t, a, "the room is quiet", func() bool {
			r := a.feed.rooms[roomID{app, "a"}]
			return a.feed.ups[0].heard.sure && !r.reading && r.replica.last == before.Revision
		})
		stir(t, a, "a", 4)
		if _, err := redistest.KillPubSub(t.Context(), rdb); err != nil {
			t.Fatal(err)
		}
		stir(t, a, "a", 4)
		must(t, a, stay.op(presence.OpUpdate, "a"))
		after := members()
		for _, s := range []*Store{a, b} {
			untilLoop(t, s, "the notices are heard", func() bool { return s.feed.ups[0].heard.sure })
			untilLoop(t, s, "all was told", func() bool {
				r := s.feed.rooms[roomID{app, "a"}]
				return r == nil || r.replica.last == after.Revision && !r.reading
			})
		}
		s := a
		if round%2 == 1 {
			s = b
		}
		loopOf(t, b, func() { // the first times it begins here, and must ask
			if r := b.feed.rooms[roomID{app, "a"}]; r != nil && round < 4 {
				r.end()
			}
		})
		op, live := resumeWatch(t, s, "a", presence.Replay{Conn: stay.conn, Handed: before.Revision, From: a.Stamp()})
		live.mu.Lock()
		events := append(op.Replayed, live.events...)
		live.mu.Unlock()
		if diff := cmp.Diff(fold(after, nil), fold(before, events)); diff != "" {
			t.Errorf("round %d: before and the replay are not the room as it is (-want +got):\n%s", round, diff)
		}
	}
	wantReplays(t, a, "ring", 3)
	wantReplays(t, b, "peer", 2)
	wantReplays(t, b, "ring", 1)
}
