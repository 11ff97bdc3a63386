package redisstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// detachment is a lost socket of c, whose grace lasts for longer than a test.
func (c client) detachment() presence.Detachment {
	return presence.Detachment{App: app, Conn: c.conn, Inc: c.inc, Grace: time.Hour, Reason: presence.ReasonTimeout}
}

// session reads the session of c.
func (c client) session(t testing.TB, rdb *redis.Client, k keys) map[string]string {
	t.Helper()
	fields, err := rdb.HGetAll(t.Context(), k.session(c.conn)).Result()
	if err != nil {
		t.Fatalf("read the session: %v", err)
	}
	return fields
}

// wantState fails the test unless the session of c has that state and inc.
func (c client) wantState(t testing.TB, rdb *redis.Client, k keys, state string) map[string]string {
	t.Helper()
	fields := c.session(t, rdb, k)
	if fields["state"] != state || fields["inc"] != strconv.FormatInt(c.inc, 10) {
		t.Fatalf("session: got state %q, inc %s; want %s, %d", fields["state"], fields["inc"], state, c.inc)
	}
	return fields
}

// resumeAt takes the connection over for a stamp, as that node would.
func (c client) resumeAt(t testing.TB, rdb *redis.Client, k keys, stamp string) client {
	t.Helper()
	old := c.session(t, rdb, k)["node"]
	shard := c.conn.Shard()
	far := time.Now().Add(time.Hour).UnixMilli()
	reply, err := call(t.Context(), rdb, newScript("resume"),
		[]string{k.session(c.conn), k.grace(c.conn), k.due(shard), k.node(shard, old), k.node(shard, stamp)},
		c.conn.String(), app, "app1.k1", "123", "", stamp, old, far, far, 0, 0, k.ctl(shard, old))
	items, ok := reply.([]any)
	if err != nil || !ok {
		t.Fatalf("resume: got %v, %v", reply, err)
	}
	inc, ok := items[0].(int64)
	if !ok || inc <= c.inc {
		t.Fatalf("resume: got inc %v behind %d", items[0], c.inc)
	}
	return client{c.conn, inc}
}

func TestALostSocketKeepsItsMembershipsForTheGrace(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby", "hall")
	if err := rdb.HSet(t.Context(), s.keys.session(c.conn), roomField(app, "hall"), "x 0 {}").Err(); err != nil {
		t.Fatal(err)
	}
	d := c.detachment()
	d.Handed = []presence.Handed{{Room: "lobby", Revision: 77}, {Room: "hall", Revision: 1}, {Room: "never", Revision: 5}}
	before := redisMs(t, s)
	s.Detach(d)
	s.Detach(d)
	awaitDepartures(t, s)
	fields := c.wantState(t, rdb, s.keys, "grace")
	due, _ := strconv.ParseInt(fields["due"], 10, 64)
	if due < before+d.Grace.Milliseconds() || due > redisMs(t, s)+d.Grace.Milliseconds() {
		t.Errorf("deadline is %d, %d ms behind the detach", due, due-before)
	}
	if lobby, hall := fields[roomField(app, "lobby")], fields[roomField(app, "hall")]; lobby != "p 77 {}" || hall != "x 1 {}" {
		t.Errorf("rooms: got %q and %q", lobby, hall)
	}
	if _, ok := fields[roomField(app, "never")]; ok {
		t.Error("a room is listed that the connection was never in")
	}
	if n, _ := rdb.HLen(t.Context(), s.keys.members(app, "lobby")).Result(); n != 2 {
		t.Errorf("the room has %d fields, want its revision and the member", n)
	}
	s.showSessions()
	if live, grace := testutil.ToFloat64(s.metrics.SessionsLive), testutil.ToFloat64(s.metrics.SessionsGrace); live != 0 || grace != 1 {
		t.Errorf("gauges: got %v live, %v in grace; want 0 and 1", live, grace)
	}
}

func TestADetachThatIsLateUndoesNothing(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	old := connect(t, s)
	old.enter(t, s, "lobby")
	now := old.resumeAt(t, rdb, s.keys, s.Stamp())
	d := old.detachment()
	d.Rooms = []string{"lobby"}
	s.Detach(d)
	awaitDepartures(t, s)
	now.wantState(t, rdb, s.keys, "live")
	if n, _ := rdb.HLen(t.Context(), s.keys.members(app, "lobby")).Result(); n != 2 {
		t.Errorf("the room has %d fields, want its revision and the member", n)
	}

	// While the detach of the first socket is owed, the second is lost too.
	srv.Pause(t)
	s.Detach(d)
	s.Detach(now.detachment())
	srv.Resume(t)
	awaitDepartures(t, s)
	now.wantState(t, rdb, s.keys, "grace")
}

func TestADetachWhileRedisIsDownIsMadeWhenItIsBack(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	srv.Kill(t)
	s.Detach(c.detachment())
	srv.Restart(t)
	awaitDepartures(t, s)
	c.wantState(t, srv.Client(t), s.keys, "grace")
}

func TestADetachOfWhatRedisForgotLeavesTheKnownRooms(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	if err := rdb.Del(t.Context(), s.keys.session(c.conn), s.keys.node(c.conn.Shard(), s.Stamp())).Err(); err != nil {
		t.Fatal(err)
	}
	d := c.detachment()
	d.Rooms = []string{"lobby"}
	s.Detach(d)
	awaitDepartures(t, s)
	all := seen.await(t, "the leave", func(all []presence.Event) bool { return len(all) == 2 })
	if e := all[1]; e.Kind != presence.KindLeave || e.Reason != presence.ReasonTimeout {
		t.Errorf("got %+v, want a leave for timeout", e)
	}
	wantEmpty(t, rdb, prefix)
}

func TestADetachWhoseAnswerWasLostIsKnownToBeMade(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	detachByHand(t, rdb, s.keys, c, time.Hour)
	d := c.detachment()
	d.Rooms = []string{"lobby"}
	s.Detach(d)
	awaitDepartures(t, s)
	c.wantState(t, rdb, s.keys, "grace")
	if n := s.graces.count(redisMs(t, s)); n != 1 {
		t.Errorf("%d connections are known to be in their grace, want 1", n)
	}
	s.graces.over(c.conn)
	if n := s.graces.count(redisMs(t, s)); n != 0 {
		t.Errorf("%d connections are known to be in their grace, want 0", n)
	}
}

// detachByHand begins the grace of c without its store.
func detachByHand(t testing.TB, rdb *redis.Client, k keys, c client, grace time.Duration) {
	t.Helper()
	reply, err := call(t.Context(), rdb, newScript("detach"),
		[]string{k.session(c.conn), k.grace(c.conn), k.due(c.conn.Shard())}, c.conn.String(), c.inc, grace.Milliseconds(), 0)
	if n, _ := reply.(int64); err != nil || n == 0 {
		t.Fatalf("detach: got %v, %v", reply, err)
	}
}

func TestWhatWaitsOfALostSocketIsNotSent(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	d := c.detachment()
	d.Unanswered = true
	s.Detach(d)
	awaitDepartures(t, s)
	fields := c.wantState(t, rdb, s.keys, "grace")
	if fence, err := strconv.ParseInt(fields["fence"], 10, 64); err != nil || fence < redisMs(t, s) {
		t.Errorf("fence is %q, %v; want one that is not over", fields["fence"], err)
	}
	fails(t, s, c.op(presence.OpUpdate, "lobby"), presence.CodeUnavailable)
	back := c.resumeAt(t, rdb, s.keys, s.Stamp())
	must(t, s, back.op(presence.OpJoin, "lobby"))
	s.Depart(back.departure(presence.ReasonClosed))
}

func TestAResumeThatWasNotAnsweredIsUndone(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	abort := func(c client) {
		t.Helper()
		done := make(chan struct{})
		s.departures.abortResume(app, c.conn, 0, func() { close(done) })
		select {
		case <-done:
		case <-time.After(waitFor):
			t.Fatal("the end of the abort was never told")
		}
		awaitDepartures(t, s)
	}
	c := connect(t, s)
	ours := c.resumeAt(t, rdb, s.keys, s.Stamp())
	abort(ours)
	fields := ours.wantState(t, rdb, s.keys, "grace")
	if due, _ := strconv.ParseInt(fields["due"], 10, 64); due > redisMs(t, s)+10_000 {
		t.Errorf("the grace ends at %d, later than the session's own", due)
	}
	abort(ours)
	ours.wantState(t, rdb, s.keys, "grace")
	theirs := ours.resumeAt(t, rdb, s.keys, "n1.99") // a later process with our node's name
	abort(theirs)
	theirs.wantState(t, rdb, s.keys, "live")
}

func TestAnAbortBlocksResumesUntilItIsDone(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	srv.Pause(t)
	s.Detach(c.detachment())
	if s.departures.aborting(c.conn) || !s.departures.departing(c.conn) {
		t.Error("a detach that is owed counts as an abort, or does not count at all")
	}
	s.departures.abortResume(app, c.conn, 0, func() {})
	if !s.departures.aborting(c.conn) {
		t.Error("an abort under way is not told")
	}
	srv.Resume(t)
	awaitDepartures(t, s)
	if s.departures.aborting(c.conn) || s.departures.departing(c.conn) {
		t.Error("an abort is told that is over")
	}
}

// abandon ends a store as a crash would: it beats no more and says nothing.
func abandon(t testing.TB, s *Store) {
	t.Helper()
	if s.closing.Swap(true) {
		t.Fatal("the store is closed already")
	}
	s.stop()
	s.running.Wait()
	for _, m := range s.masters.now.Load().all {
		m.halt()
	}
	s.settler.end()
	s.stopFeed()
	s.feeding.Wait()
	if err := s.closeClients(); err != nil {
		t.Errorf("abandon %s: %v", s.opts.NodeID, err)
	}
}

// tick looks again and again, for what nothing announces.
func tick(t testing.TB, what string, ok func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok(ctx) {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("waited for: %s", what)
		}
	}
}
