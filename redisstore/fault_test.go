package redisstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// expectResyncs compares the counters of resyncs, but for first snapshots.
func (r *rig) expectResyncs(want map[string]float64) {
	r.t.Helper()
	r.onLoop(func() {}) // it counts after it has told
	got := map[string]float64{}
	for _, cause := range []string{causeGap, causeReconnect, causeMoved, causeBack, causeAudit} {
		if n := testutil.ToFloat64(r.metrics.Resyncs.WithLabelValues(cause)); n > 0 {
			got[cause] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("resyncs (-want +got):\n%s", diff)
	}
}

func (r *rig) expectTold(s *subscriber, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, s.told()); diff != "" {
		r.t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestGapIsMendedWithTheDifference(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 1, `1`)
	r.put("a", 2, `2`)
	r.put("a", 3, `3`)
	s := r.follow("a")
	list := r.stored("a")
	r.cut("a", 2, quietly)
	r.put("a", 4, `4`, quietly)
	r.put("a", 1, `"new"`, quietly)
	r.put("a", 3, `"old"`, quietly)
	last := r.put("a", 3, `"new"`)
	events := s.waitFor(4)
	r.expectTold(s, `join 4  4`, `update 1  "new"`, `update 3  "new"`, `leave 2 unknown`)
	if got := events[3]; got.Revision != last || got.Data != nil || string(got.Client) != `"c2"` || got.At == 0 || got.Time == 0 {
		t.Errorf("leave of a repair is %+v, want the snapshot's revision %d and no data", got, last)
	}
	r.expectFold("a", list, s)
	if n := testutil.ToFloat64(r.metrics.FeedGaps); n != 1 {
		t.Errorf("%v gaps counted, want 1", n)
	}
	r.expectResyncs(map[string]float64{causeGap: 1})

	next := r.put("a", 5, `5`)
	if e := s.waitFor(5)[4]; e.Revision != next {
		t.Errorf("the next event has revision %d, want %d", e.Revision, next)
	}
}

func TestLostLinkMakesNoEventWhenNothingChanged(t *testing.T) {
	r := newRig(t, redistest.Start(t)).start()
	var all []*subscriber
	for i := range 50 {
		room := fmt.Sprint("room", i)
		r.put(room, 1, `1`)
		all = append(all, r.follow(room))
	}
	all = append(all, r.follow("empty"))
	for range 5 {
		r.cutLink()
		r.untilChecked()
	}
	for _, s := range all {
		r.expectTold(s)
	}
	r.expectResyncs(map[string]float64{})
}

func TestLostLinkFindsWhatWasMissed(t *testing.T) {
	r := newRig(t, redistest.Start(t)).start()
	r.put("a", 1, `1`)
	r.put("b", 1, `1`)
	a, b, c := r.follow("a"), r.follow("b"), r.follow("c")
	r.put("a", 2, `2`, quietly)
	r.cut("b", 1, quietly)
	r.put("c", 1, `1`, quietly)
	r.cutLink()
	a.waitFor(1)
	b.waitFor(1)
	c.waitFor(1)
	r.untilChecked()
	r.expectTold(a, "join 2  2")
	r.expectTold(b, "leave 1 unknown")
	r.expectTold(c, "join 1  1")
	r.expectResyncs(map[string]float64{causeReconnect: 3})
	if e := b.waitFor(1)[0]; e.Revision != b.since+1 {
		t.Errorf("leave of the last member has revision %d, want %d", e.Revision, b.since+1)
	}
}

// TestFoldIsTheRoomWhateverBreaks is invariants 1, 2 and 8 over many links.
func TestFoldIsTheRoomWhateverBreaks(t *testing.T) {
	r := newRig(t, redistest.Start(t)).start()
	const rooms, members = 8, 6
	var all [rooms]*subscriber
	var lists [rooms]presence.Snapshot
	for i := range rooms {
		all[i] = r.follow(fmt.Sprint(i))
		lists[i] = r.stored(fmt.Sprint(i))
	}
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for n := range 2000 {
				room, who := fmt.Sprint(rand.N(rooms)), byte(rand.N(members))
				if rand.N(5) < 2 {
					r.put(room, who, strconv.Itoa(n))
				} else {
					r.cut(room, who)
				}
			}
		})
	}
	breaking, stop := context.WithCancel(t.Context())
	var breaker sync.WaitGroup
	breaker.Go(func() {
		for breaking.Err() == nil {
			r.cutLink()
		}
	})
	writers.Wait()
	stop()
	breaker.Wait()
	for i, s := range all {
		room := fmt.Sprint(i)
		s.waitConn(99, r.put(room, 99, `"last"`)) // everything before it has come, or is in its repair
		r.expectFold(room, lists[i], s)
		expectOneLeaveEach(t, lists[i], s)
	}
}

// expectOneLeaveEach fails the test unless joins and leaves of each connection
// alternate.
func expectOneLeaveEach(t *testing.T, list presence.Snapshot, s *subscriber) {
	t.Helper()
	there := map[presence.ConnID]bool{}
	for _, m := range list.Members {
		there[m.Conn] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Revision <= list.Revision {
			continue
		}
		if joins := e.Kind == presence.KindJoin; joins == there[e.Conn] {
			t.Errorf("%s of %d at %d, who was there: %v", e.Kind, e.Conn[0], e.Revision, there[e.Conn])
		}
		there[e.Conn] = e.Kind != presence.KindLeave
	}
}

func TestRoomDeletedByHandHeals(t *testing.T) {
	r := newRig(t, redistest.Start(t)).start()
	key := r.feed.keys.members(rigApp, "a")
	r.put("a", 1, `1`)
	r.put("a", 2, `2`)
	s := r.follow("a")

	r.redis.Del(t.Context(), key)
	r.put("a", 3, `3`) // the next event shows it
	s.waitFor(3)
	r.expectTold(s, "leave 1 unknown", "leave 2 unknown", "join 3  3")

	r.redis.Del(t.Context(), key)
	r.onLoop(r.auditAll) // or the audit does
	s.waitFor(4)
	r.expectTold(s, "leave 1 unknown", "leave 2 unknown", "join 3  3", "leave 3 unknown")
	r.expectResyncs(map[string]float64{causeAudit: 1})

	r.put("a", 4, `4`)
	r.redis.FlushAll(t.Context())
	r.cutLink()
	s.waitFor(6)
	r.expectTold(s, "leave 1 unknown", "leave 2 unknown", "join 3  3", "leave 3 unknown", "join 4  4", "leave 4 unknown")
	rev := r.put("a", 5, `5`)
	if e := s.waitFor(7)[6]; e.Revision != rev {
		t.Errorf("event of the refilled room has revision %d, want %d", e.Revision, rev)
	}
}

// refill fills the room as a Redis whose clock went back would.
func (r *rig) refill(room string, n byte, rev int64, publish bool) {
	r.t.Helper()
	value := fmt.Sprintf(`{"rev":%d,"inc":1,"node":"n1.1","at":77,"client":"c%d","data":"back"}`, rev, n)
	_, err := r.redis.TxPipelined(r.t.Context(), func(p redis.Pipeliner) error {
		p.Del(r.t.Context(), r.feed.keys.members(rigApp, room))
		p.HSet(r.t.Context(), r.feed.keys.members(rigApp, room), "#", rev, conn(n).String(), value)
		if publish {
			p.SPublish(r.t.Context(), r.feed.keys.feed(rigApp, room), fmt.Sprintf("join %d 0 %s 77 - %s", rev, conn(n), value))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestClockThatWentBackIsMarked(t *testing.T) {
	for _, seen := range []bool{true, false} {
		r := newRig(t, redistest.Shared(t)).start()
		r.put("a", 1, `1`)
		s := r.follow("a")
		r.untilChecked() // else the event might be one that the snapshot holds
		r.refill("a", 2, 5000, seen)
		if !seen {
			r.onLoop(r.auditAll)
		}
		events := s.waitFor(2)
		r.expectTold(s, `join 2  "back"`, "leave 1 unknown")
		if now := r.stored("a").Revision; now != s.since+markAhead || events[0].Revision != now || events[1].Revision != now {
			t.Errorf("seen %v: the room is at %d, told at %d and %d, want %d", seen, now, events[0].Revision, events[1].Revision, s.since+markAhead)
		}
		rev := r.put("a", 3, `3`)
		if e := s.waitFor(3)[2]; e.Revision != rev {
			t.Errorf("seen %v: the next event has revision %d, want %d", seen, e.Revision, rev)
		}
	}
}

func TestLostWritesAreToldAboveWhatWasTold(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 1, `"old"`)
	old := r.stored("a")
	s := r.follow("a")
	r.put("a", 1, `"new"`)
	s.waitFor(1)
	r.untilChecked()
	// As after a failover that lost the update.
	r.refill("a", 1, int64(old.Revision), false)
	key := r.feed.keys.members(rigApp, "a")
	member := old.Members[0]
	if err := r.redis.HSet(t.Context(), key, conn(1).String(), formatMember(&member)).Err(); err != nil {
		t.Fatal(err)
	}
	r.put("a", 2, `2`) // its revision was told before
	s.waitFor(3)
	r.expectTold(s, `update 1  "new"`, `update 1  "old"`, "join 2  2")
	r.expectResyncs(map[string]float64{causeBack: 1})
	r.expectFold("a", old, s)
}

func TestEventOfUnknownFormChecksItsRoom(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 1, `1`)
	s := r.follow("a")
	channel := r.feed.keys.feed(rigApp, "a")
	r.redis.SPublish(t.Context(), channel, "join me")
	r.untilChecked()
	r.put("a", 2, `2`, quietly)
	r.redis.SPublish(t.Context(), channel, "")
	s.waitFor(1)
	r.expectTold(s, "join 2  2")
	r.expectResyncs(map[string]float64{causeGap: 1})
}

func TestSubscriptionThatRedisEndedIsRenewed(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	s, m := r.follow("a"), newSubscriber(t)
	<-r.begin(presence.OpWatchMessages, "a", m)
	r.put("a", 1, `1`, quietly)
	var old *link
	r.onLoop(func() { // asked behind the feed's back: the answer is one that nobody expects
		old = r.ups[0].link
		old.send(command{verb: verbUnsubscribe, arg: r.feed.keys.feed(rigApp, "a")}, command{verb: verbUnsubscribe, arg: r.feed.keys.messages(rigApp, "a")})
	})
	s.waitFor(1)
	r.untilChecked()
	r.expectTold(s, "join 1  1")
	r.expectResyncs(map[string]float64{causeMoved: 1})
	r.redis.SPublish(t.Context(), r.feed.keys.messages(rigApp, "a"), "m")
	m.wait("the message", func(_ []*presence.Event, messages []string) bool { return len(messages) == 1 })
	r.onLoop(func() {
		if r.ups[0].link != old {
			t.Error("the link was made anew")
		}
	})
}

// gate is a feedStore that tells of reads, and holds them behind Redis's answer.
type gate struct {
	feedStore
	mu      sync.Mutex
	reading map[string]int
	now     int
	most    int
	enter   chan string   // nil: tells nobody
	pass    chan struct{} // nil: holds nobody
}

func (g *gate) readRoom(ctx context.Context, app, room string) (presence.Snapshot, error) {
	g.mu.Lock()
	g.now++
	g.most = max(g.most, g.now)
	g.reading[room]++
	if g.reading[room] > 1 {
		panic("two reads of room " + room)
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now--
		g.reading[room]--
	}()
	snap, err := g.feedStore.readRoom(ctx, app, room)
	if g.enter != nil {
		g.enter <- room
	}
	if g.pass != nil {
		<-g.pass
	}
	return snap, err
}

func TestReadsAreOneARoomAnd32InAll(t *testing.T) {
	r := newRig(t, redistest.Start(t))
	g := &gate{feedStore: r, reading: map[string]int{}, enter: make(chan string, 1000), pass: make(chan struct{})}
	r.store = g
	r.start()
	const rooms = 100
	var answers []answer
	for i := range rooms {
		answers = append(answers, r.begin(presence.OpWatch, fmt.Sprint(i), newSubscriber(t)))
	}
	for range readsMost {
		<-g.enter
	}
	r.onLoop(func() {
		if r.reads.flying != readsMost {
			t.Errorf("%d reads on their way, want %d", r.reads.flying, readsMost)
		}
	})
	for range rooms {
		g.pass <- struct{}{}
	}
	for _, a := range answers {
		if op := <-a; op.Err != nil {
			t.Fatal(op.Err)
		}
	}
	if g.most > readsMost {
		t.Errorf("%d reads at the same time, want at most %d", g.most, readsMost)
	}
}

func TestRoomThatChangesTooFastToKeepIsReadAgain(t *testing.T) {
	r := newRig(t, redistest.Start(t))
	g := &gate{feedStore: r, reading: map[string]int{}, enter: make(chan string, 10), pass: make(chan struct{})}
	r.store = g
	r.start()
	s := newSubscriber(t)
	waiting := r.begin(presence.OpWatch, "a", s)
	<-g.enter
	var last presence.Revision
	for i := range keepEvents + 10 {
		last = r.put("a", 1, strconv.Itoa(i))
	}
	r.until("too much was kept", func() bool { return r.rooms[roomID{rigApp, "a"}].overflow })
	g.pass <- struct{}{}
	<-g.enter
	g.pass <- struct{}{}
	if op := <-waiting; op.Err != nil || op.Revision != last {
		t.Errorf("watch was answered with %d, %v, want %d", op.Revision, op.Err, last)
	}
	r.cut("a", 1)
	s.waitFor(1)
	r.expectTold(s, "leave 1 left "+strconv.Itoa(keepEvents+9))
}

func TestEventsDuringARepairComeAfterIt(t *testing.T) {
	r := newRig(t, redistest.Shared(t))
	g := &gate{feedStore: r, reading: map[string]int{}}
	r.store = g
	r.start()
	r.put("a", 1, `1`)
	s := r.follow("a")
	g.enter, g.pass = make(chan string, 10), make(chan struct{})
	r.put("a", 2, `2`, quietly)
	r.put("a", 3, `3`)
	<-g.enter // the snapshot is read, and held
	r.put("a", 4, `4`)
	r.cut("a", 2)
	r.until("both are kept", func() bool { return len(r.rooms[roomID{rigApp, "a"}].kept) >= 2 })
	g.pass <- struct{}{}
	events := s.waitFor(4)
	r.expectTold(s, "join 2  2", "join 3  3", "join 4  4", "leave 2 left 2")
	for i, e := range slices.Backward(events) {
		if i > 0 && e.Revision != events[i-1].Revision+1 {
			t.Errorf("revision %d follows %d", e.Revision, events[i-1].Revision)
		}
	}
}
