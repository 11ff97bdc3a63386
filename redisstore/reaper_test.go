package redisstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// shortLived is a node whose lease ends soon after its last beat.
func shortLived(o *Options) { o.LeaseTTL, o.LeaseBeat = 600*time.Millisecond, 150*time.Millisecond }

// watchful is a node that may soon judge others, and does not lapse itself
// because a machine is busy.
func watchful(o *Options) { o.LeaseTTL, o.LeaseBeat = 2*time.Second, 200*time.Millisecond }

// lapse ends the lease of a stamp a second ago.
func lapse(t testing.TB, rdb *redis.Client, k keys, stamp string) {
	t.Helper()
	_, err := rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Del(t.Context(), k.lease(stamp))
		p.ZAdd(t.Context(), k.nodesDue(), redis.Z{Score: float64(time.Now().UnixMilli() - 1000), Member: stamp})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connectFor is connect with a short grace.
func connectFor(t testing.TB, s *Store, grace time.Duration) client {
	t.Helper()
	c := client{conn: presence.NewConnID()}
	op := c.op(presence.OpOpen, "")
	op.Grace = grace
	c.inc = must(t, s, op).NewInc
	return c
}

// buried reports whether nothing tells of a stamp any more.
func buried(ctx context.Context, rdb *redis.Client, k keys, stamp string) bool {
	return !rdb.HExists(ctx, k.registry(), stamp).Val() && !rdb.HExists(ctx, k.reaping(), stamp).Val() &&
		rdb.ZScore(ctx, k.nodesDue(), stamp).Err() == redis.Nil
}

func TestWhatADeadNodeHeldLeavesOnce(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	dead := openStore(t, srv, prefix, "n1", shortLived)
	b, c := openStore(t, srv, prefix, "n2", watchful), openStore(t, srv, prefix, "n3", watchful)
	seen := listen(t, rdb, dead.keys, "a", "b")
	const n = 300 // more than a shard each
	stays := connect(t, b)
	stays.enter(t, b, "a")
	for i := range n {
		connectFor(t, dead, 100*time.Millisecond).enter(t, dead, []string{"a", "b"}[i%2])
	}
	stamp := dead.Stamp()
	abandon(t, dead)
	wantOneLeaveEach(t, seen, n, presence.ReasonNodeLost)
	tick(t, "the stamp is buried", func(ctx context.Context) bool { return buried(ctx, rdb, b.keys, stamp) })
	stays.wantState(t, rdb, b.keys, "live")
	lost := testutil.ToFloat64(b.metrics.NodesLost) + testutil.ToFloat64(c.metrics.NodesLost)
	if lost < 1 {
		t.Errorf("%v nodes are counted as lost", lost)
	}
	b.Depart(stays.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
	awaitDepartures(t, c)
	wantEmpty(t, rdb, prefix)
	reaped := testutil.ToFloat64(b.metrics.Reaped.WithLabelValues("node")) + testutil.ToFloat64(c.metrics.Reaped.WithLabelValues("node"))
	if reaped != n {
		t.Errorf("%v reaped of a dead node, want %d", reaped, n)
	}
}

func TestWhoResumedElsewhereDoesNotLeaveWithItsNode(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	dead := openStore(t, srv, prefix, "n1", shortLived)
	b := openStore(t, srv, prefix, "n2", watchful)
	seen := listen(t, rdb, dead.keys, "lobby")
	before := connectFor(t, dead, 100*time.Millisecond)
	before.enter(t, dead, "lobby")
	early := before.resumeAt(t, rdb, b.keys, b.Stamp()) // while its node lives
	late := connectFor(t, dead, time.Hour)
	late.enter(t, dead, "lobby")
	gone := connectFor(t, dead, 100*time.Millisecond)
	gone.enter(t, dead, "lobby")
	stamp := dead.Stamp()
	abandon(t, dead)
	tick(t, "the stamp is buried", func(ctx context.Context) bool { return buried(ctx, rdb, b.keys, stamp) })
	late.wantState(t, rdb, b.keys, "grace")
	late = late.resumeAt(t, rdb, b.keys, b.Stamp()) // in its grace
	wantOneLeaveEach(t, seen, 1, presence.ReasonNodeLost)
	early.wantState(t, rdb, b.keys, "live")
	late.wantState(t, rdb, b.keys, "live")
	for conn := range counts(seen.all, presence.KindLeave) {
		if conn != gone.conn {
			t.Errorf("%s left, want %s", conn, gone.conn)
		}
	}
	b.Depart(early.departure(presence.ReasonClosed)) // its session stays until the fence of the takeover
	b.Depart(late.departure(presence.ReasonClosed))
	tick(t, "nothing is left", func(context.Context) bool { return len(leftovers(t, rdb, prefix)) == 0 })
}

// TestAReaperThatDiedIsReplaced condemns by hand and goes no further, with a
// node alive whose shards nobody works on.
func TestAReaperThatDiedIsReplaced(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	dead := openStore(t, srv, prefix, "n1", shortLived)
	seen := listen(t, rdb, dead.keys, "lobby")
	const n = 40
	for range n {
		connectFor(t, dead, 100*time.Millisecond).enter(t, dead, "lobby")
	}
	stamp := dead.Stamp()
	abandon(t, dead)
	pretend(t, rdb, dead.keys, "n3.1", `{}`)
	k := dead.keys
	tick(t, "the lease has ended", func(ctx context.Context) bool {
		end, err := call(ctx, rdb, newScript("condemn"), []string{k.lease(stamp), k.registry(), k.nodesDue(), k.reaping()}, stamp, 0, 5000)
		n, _ := end.(int64)
		return err == nil && n > 0
	})
	b := openStore(t, srv, prefix, "n2", watchful)
	wantOneLeaveEach(t, seen, n, presence.ReasonNodeLost)
	tick(t, "the stamp is buried", func(ctx context.Context) bool { return buried(ctx, rdb, b.keys, stamp) })
	if lost := testutil.ToFloat64(b.metrics.NodesLost); lost != 0 {
		t.Errorf("%v nodes are counted as lost, want 0: somebody else condemned it", lost)
	}
}

func TestOwnShardsOfADeadNodeComeFirst(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	dead := openStore(t, srv, prefix, "n1", shortLived)
	var all []client
	for range 60 {
		all = append(all, connectFor(t, dead, time.Hour))
	}
	stamp := dead.Stamp()
	abandon(t, dead)
	s := idle(t, srv, prefix, "n2")
	s.reaper.halted.Store(true)
	pretend(t, rdb, s.keys, "n3.1", `{}`)
	still(t, s) // looks who is alive
	lineup := s.lineup.Load()
	reap := func(condemned int64) {
		t.Helper()
		if err := newReaper(s).reap(t.Context(), corpse{stamp: stamp, end: condemned - 5, condemned: condemned}); err != nil {
			t.Fatal(err)
		}
	}
	reap(redisMs(t, s) + time.Hour.Milliseconds()) // just now, however slow this test is
	own := 0
	for _, c := range all {
		want := "live"
		if lineup.own[c.conn.Shard()] {
			want, own = "grace", own+1
		}
		c.wantState(t, rdb, s.keys, want)
	}
	if own == 0 || own == len(all) {
		t.Fatalf("%d of %d connections are in own shards; the test says nothing", own, len(all))
	}
	reap(redisMs(t, s) - 2*othersReap.Milliseconds())
	for _, c := range all {
		if fields := c.wantState(t, rdb, s.keys, "grace"); fields["why"] != "node_lost" {
			t.Errorf("the session would leave for %q", fields["why"])
		}
	}
}

func TestAnIndexIsEmptiedWhateverItHolds(t *testing.T) {
	t.Parallel()
	// A small hash is answered as a whole, whatever COUNT says.
	srv, prefix := redistest.Start(t, "--hash-max-listpack-entries", "1000"), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := idle(t, srv, prefix, "n1")
	s.reaper.halted.Store(true)
	c := corpse{stamp: "n9.1", end: 1000, condemned: 1005}
	index := s.keys.node(63, c.stamp)
	fields := []any{"somebody's hand", "1"}
	for i := range 3 * orphanChunk {
		fields = append(fields, fmt.Sprintf("3f%018x", i), "1")
	}
	if err := rdb.HSet(t.Context(), index, fields...).Err(); err != nil {
		t.Fatal(err)
	}
	r := newReaper(s)
	if left, err := r.left(t.Context(), c); err != nil || len(left) != 1 || left[0] != 63 {
		t.Fatalf("left: got %v, %v; want shard 63", left, err)
	}
	calls, _, err := r.scan(t.Context(), c, []int{63})
	if err != nil || len(calls) < 4 {
		t.Errorf("%d connections in %d calls, %v; want at most %d a call", 3*orphanChunk+1, len(calls), err, orphanChunk)
	}
	if err := rdb.ConfigSet(t.Context(), "hash-max-listpack-entries", "100").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.HSet(t.Context(), index, "one more", "1").Err(); err != nil { // now COUNT counts
		t.Fatal(err)
	}
	if _, more, err := r.scan(t.Context(), c, []int{63}); err != nil || len(more) != 1 {
		t.Errorf("more behind the first page: got %v, %v; want shard 63", more, err)
	}
	if err := r.empty(t.Context(), c, []int{63}); err != nil {
		t.Fatal(err)
	}
	if n := rdb.Exists(t.Context(), index).Val(); n != 0 {
		t.Error("the index is not empty")
	}
}

func TestWhoMayBeWrongCondemnsNobody(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	s.reaper.halted.Store(true)
	pretend(t, rdb, s.keys, "n2.1", `{}`)
	pretend(t, rdb, s.keys, "n3.1", `{}`)
	lapse(t, rdb, s.keys, "n2.1")
	r := newReaper(s)
	known := func(stamp string) bool { return rdb.HExists(t.Context(), s.keys.registry(), stamp).Val() }
	r.sure = func() bool { return false }
	if err := r.turn(t.Context()); err != nil || !known("n2.1") {
		t.Errorf("turn of a reaper that is not sure: %v; n2.1 is in the registry: %v", err, known("n2.1"))
	}
	r.sure = func() bool { return true }
	r.halted.Store(true)
	if err := r.turn(t.Context()); err != nil || !known("n2.1") {
		t.Errorf("turn of a reaper that has ended: %v; n2.1 is in the registry: %v", err, known("n2.1"))
	}
	r.halted.Store(false)
	if err := r.turn(t.Context()); err != nil || known("n2.1") || !known("n3.1") || !known(s.Stamp()) {
		t.Errorf("turn: %v; in the registry are n2.1 %v, n3.1 %v, we %v; want all but n2.1", err, known("n2.1"), known("n3.1"), known(s.Stamp()))
	}
}
