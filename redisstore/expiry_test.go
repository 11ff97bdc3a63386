package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// lose detaches c with a short grace.
func (c client) lose(s *Store) {
	d := c.detachment()
	d.Grace = 300 * time.Millisecond
	s.Detach(d)
}

// rings reads the metric of what had graces claimed, in some stores.
func rings(by string, stores ...*Store) (n float64) {
	for _, s := range stores {
		n += testutil.ToFloat64(s.metrics.Rings.WithLabelValues(by))
	}
	return n
}

// wantOneLeaveEach waits until every connection has left room, and fails the
// test unless each has left once, for that reason.
func wantOneLeaveEach(t *testing.T, seen *lines, n int, reason presence.Reason) {
	t.Helper()
	seen.await(t, fmt.Sprintf("%d leaves", n), func(all []presence.Event) bool { return len(counts(all, presence.KindLeave)) == n })
	for _, e := range seen.await(t, "", func([]presence.Event) bool { return true }) {
		if e.Kind == presence.KindLeave && e.Reason != reason {
			t.Errorf("%s left for %q, want %s", e.Conn, e.Reason, reason)
		}
	}
	for conn, n := range counts(seen.all, presence.KindLeave) {
		if n != 1 {
			t.Errorf("%s left %d times, want once", conn, n)
		}
	}
}

func TestAGraceThatEndsLeavesOnceWhoeverSeesIt(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	seen := listen(t, rdb, a.keys, "lobby")
	const n = 40
	for i := range n {
		s := []*Store{a, b}[i%2]
		c := connectFor(t, s, 300*time.Millisecond)
		c.enter(t, s, "lobby")
		c.lose(s)
	}
	wantOneLeaveEach(t, seen, n, presence.ReasonTimeout)
	awaitDepartures(t, a)
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
	if got := rings(byEvent, a, b) + rings(byNudge, a, b) + rings(byPoll, a, b); got != n {
		t.Errorf("%v graces counted, want %d", got, n)
	}
	reaped := testutil.ToFloat64(a.metrics.Reaped.WithLabelValues("expiry")) + testutil.ToFloat64(b.metrics.Reaped.WithLabelValues("expiry"))
	if reaped != n {
		t.Errorf("%v reaped, want %d", reaped, n)
	}
	took, seconds := departed(t, a)
	more, rest := departed(t, b)
	if took+more != n || seconds+rest < n*0.3 {
		t.Errorf("%d departures took %v s, want %d, each from the loss of its socket", took+more, seconds+rest, n)
	}
}

// departed reads the metric of departures for timeout.
func departed(t *testing.T, s *Store) (n uint64, seconds float64) {
	t.Helper()
	families, err := s.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "presence_departure_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "timeout" {
				n, seconds = m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
			}
		}
	}
	return n, seconds
}

func TestAGraceEndsWithoutNotices(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t, "--notify-keyspace-events", ""), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.ManageNotifications = false })
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	c.lose(s)
	wantOneLeaveEach(t, seen, 1, presence.ReasonTimeout)
	awaitDepartures(t, s)
	if rings(byPoll, s) != 1 || rings(byEvent, s)+rings(byNudge, s) != 0 {
		t.Errorf("rings: got %v by event, %v by nudge, %v by poll; want 1 by poll", rings(byEvent, s), rings(byNudge, s), rings(byPoll, s))
	}
}

// still makes the claimer of a store whose own one does not run.
func still(t *testing.T, s *Store) *claimer {
	t.Helper()
	c := newClaimer(s)
	c.look(t.Context())
	return c
}

// idle opens a store that looks after nothing by itself: it may write, and its
// departures go on.
func idle(t *testing.T, srv *redistest.Server, prefix, node string, change ...func(*Options)) *Store {
	t.Helper()
	s := openStore(t, srv, prefix, node, change...)
	s.claimer.halted.Store(true)
	return s
}

func TestARingClaimsAndASecondOneDoesNothing(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := idle(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	by := still(t, s)
	ring := func() {
		t.Helper()
		if !by.rung(ring{c.conn, s.clock()}) {
			t.Fatal("the ring of an own shard is not taken")
		}
		if by.rung(ring{c.conn, s.clock()}) {
			t.Error("a connection is wanted twice")
		}
		if err := by.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaitDepartures(t, s)
	}
	ring() // it is live
	c.wantState(t, rdb, s.keys, "live")
	detachByHand(t, rdb, s.keys, c, time.Hour)
	ring() // before its end: somebody resumed it, and it was lost again
	c.wantState(t, rdb, s.keys, "grace")
	endGrace(t, rdb, s.keys, c)
	by.halted.Store(true)
	ring() // this node ends
	c.wantState(t, rdb, s.keys, "grace")
	by.halted.Store(false)
	by.sure = func() bool { return false }
	ring() // Redis was started anew, say
	c.wantState(t, rdb, s.keys, "grace")
	by.sure = s.settled
	ring()
	ring()
	wantOneLeaveEach(t, seen, 1, presence.ReasonTimeout)
	wantEmpty(t, rdb, prefix)
	if rings(byEvent, s) != 1 {
		t.Errorf("%v rings by event, want 1", rings(byEvent, s))
	}
}

// endGrace moves the end of a grace to now.
func endGrace(t testing.TB, rdb *redis.Client, k keys, c client) {
	t.Helper()
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	due := now.UnixMilli() - 1
	_, err = rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Del(t.Context(), k.grace(c.conn))
		p.HSet(t.Context(), k.session(c.conn), "due", due)
		p.ZAdd(t.Context(), k.due(c.conn.Shard()), redis.Z{Score: float64(due), Member: c.conn.String()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADeadlineIsNudgedAndThenClaimed(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := idle(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	detachByHand(t, rdb, s.keys, c, time.Hour)
	by := still(t, s)
	turn := func() {
		t.Helper()
		if err := by.poll(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := by.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaitDepartures(t, s)
	}
	turn()
	if len(by.nudged) != 0 {
		t.Error("a grace is nudged that is not over")
	}
	endGrace(t, rdb, s.keys, c)
	turn()
	if _, ok := by.nudged[c.conn]; !ok {
		t.Fatal("a grace that is over is not nudged")
	}
	c.wantState(t, rdb, s.keys, "grace")
	turn()
	wantEmpty(t, rdb, prefix)
	if rings(byPoll, s) != 1 {
		t.Errorf("%v rings by poll, want 1", rings(byPoll, s))
	}
	if len(by.nudged)+len(by.wanted) != 0 {
		t.Errorf("%d nudges and %d wants are left", len(by.nudged), len(by.wanted))
	}
}

// TestTheShardsOfADeadNodeAreLookedAfter has a node in the registry that holds
// its lease and does nothing.
func TestTheShardsOfADeadNodeAreLookedAfter(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	pretend(t, rdb, keys{prefix: prefix}, "n2.1", `{"probe_ms":5}`)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	own, err := s.readLineup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	for own.own[c.conn.Shard()] {
		s.Depart(c.departure(presence.ReasonClosed))
		c = connect(t, s)
	}
	c.enter(t, s, "lobby")
	c.lose(s)
	wantOneLeaveEach(t, seen, 1, presence.ReasonTimeout)
	awaitDepartures(t, s)
	if rings(byPoll, s) != 1 {
		t.Errorf("%v rings by poll, want 1", rings(byPoll, s))
	}
}

// pretend puts a node into the registry whose lease does not end.
func pretend(t testing.TB, rdb *redis.Client, k keys, stamp, value string) {
	t.Helper()
	_, err := rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.HSet(t.Context(), k.registry(), stamp, value)
		p.ZAdd(t.Context(), k.nodesDue(), redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: stamp})
		p.Set(t.Context(), k.lease(stamp), "", time.Hour)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAClaimerThatDiedIsReplaced claims by hand, makes some leaves, and goes no
// further.
func TestAClaimerThatDiedIsReplaced(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	rooms := []string{"a", "b", "c"}
	s := idle(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, rooms...)
	for made := range len(rooms) + 1 {
		c := connect(t, s)
		c.enter(t, s, rooms...)
		detachByHand(t, rdb, s.keys, c, 0)
		if _, err := call(t.Context(), rdb, s.claimer.claim,
			[]string{s.keys.due(c.conn.Shard()), s.keys.session(c.conn), s.keys.grace(c.conn)}, 1, c.conn.String()); err != nil {
			t.Fatal(err)
		}
		c.wantState(t, rdb, s.keys, "leaving")
		for _, room := range rooms[:made] {
			leaveByHand(t, s, c, room, "timeout")
		}
	}
	s.claimer.halted.Store(false)
	all := seen.await(t, "every leave", func(all []presence.Event) bool {
		n := counts(all, presence.KindLeave)
		for _, k := range n {
			if k < len(rooms) {
				return false
			}
		}
		return len(n) == len(rooms)+1
	})
	for conn, n := range counts(all, presence.KindLeave) {
		if n != len(rooms) {
			t.Errorf("%s left %d times, want %d", conn, n, len(rooms))
		}
	}
	tick(t, "nothing is left", func(context.Context) bool { return len(leftovers(t, rdb, prefix)) == 0 })
	if rings(byPoll, s)+rings(byEvent, s)+rings(byNudge, s) != 0 {
		t.Error("the end of a claim is counted as that of a grace")
	}
}

func TestALostConnectionIsAwayForTheRetention(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.Retention = time.Hour })
	lost, closed := connect(t, s), connect(t, s)
	lost.enter(t, s, "lobby")
	closed.enter(t, s, "lobby")
	lost.lose(s)
	s.Depart(closed.departure(presence.ReasonClosed))
	tick(t, "the session is away", func(context.Context) bool { return lost.session(t, rdb, s.keys)["state"] == "away" })
	awaitDepartures(t, s)
	if n := len(closed.session(t, rdb, s.keys)); n != 0 {
		t.Errorf("the session of who closed has %d fields, want none", n)
	}
	fields := lost.wantState(t, rdb, s.keys, "away")
	if _, ok := fields[roomField(app, "lobby")]; !ok {
		t.Error("the session lists its room no more")
	}
	score, err := rdb.ZScore(t.Context(), s.keys.due(lost.conn.Shard()), lost.conn.String()).Result()
	if err != nil || int64(score) < redisMs(t, s)+time.Hour.Milliseconds()/2 {
		t.Errorf("the retention ends at %s, %v", strconv.FormatFloat(score, 'f', 0, 64), err)
	}
	// Its end deletes what is left, and nothing leaves again.
	if err := rdb.ZAdd(t.Context(), s.keys.due(lost.conn.Shard()), redis.Z{Score: 1, Member: lost.conn.String()}).Err(); err != nil {
		t.Fatal(err)
	}
	tick(t, "nothing is left", func(context.Context) bool { return len(leftovers(t, rdb, prefix)) == 0 })
	if n := rings(byPoll, s) + rings(byEvent, s) + rings(byNudge, s); n != 1 {
		t.Errorf("%v graces counted, want 1: the end of a retention is none", n)
	}
}
