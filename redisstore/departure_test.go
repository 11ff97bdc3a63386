package redisstore

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestADepartureLeavesEveryRoomOnce(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	rooms := []string{"a", "b:c", "d"}
	seen := listen(t, rdb, s.keys, rooms...)
	c := connect(t, s)
	c.enter(t, s, rooms...)
	must(t, s, c.op(presence.OpTrack, "never joined"))
	s.Depart(c.departure(presence.ReasonTimeout))
	s.Depart(c.departure(presence.ReasonTimeout))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
	all := seen.await(t, "three leaves", func(all []presence.Event) bool { return len(all) >= 6 })
	for _, e := range all {
		if e.Kind == presence.KindLeave && e.Reason != presence.ReasonTimeout {
			t.Errorf("leave with reason %q, want timeout", e.Reason)
		}
	}
	if n := counts(all, presence.KindLeave)[c.conn]; n != len(rooms) {
		t.Errorf("%d leaves, want %d", n, len(rooms))
	}
}

func TestADepartureWhileRedisIsDownIsMadeWhenItIsBack(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "a", "b")
	srv.Kill(t)
	s.Depart(c.departure(presence.ReasonClosed))
	srv.Restart(t)
	awaitDepartures(t, s)
	wantEmpty(t, srv.Client(t), prefix)
}

// TestADepartureThatStoppedHalfWayIsFinished walks the saga by hand up to each
// of its steps, as a process would that died there.
func TestADepartureThatStoppedHalfWayIsFinished(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	died := openStore(t, srv, prefix, "n1")
	openStore(t, srv, prefix, "n2") // whoever of the two sees it first
	rooms := []string{"a", "b", "c"}
	for steps := range len(rooms) + 1 {
		t.Run(fmt.Sprintf("after close and %d leaves", steps), func(t *testing.T) {
			seen := listen(t, rdb, died.keys, rooms...)
			c := connect(t, died)
			c.enter(t, died, rooms...)
			keys := []string{died.keys.session(c.conn), died.keys.grace(c.conn), died.keys.due(c.conn.Shard())}
			if _, err := call(t.Context(), rdb, died.scripts.close, keys, c.conn.String(), c.inc, 0, "closed", 0); err != nil {
				t.Fatal(err)
			}
			for _, room := range rooms[:steps] {
				leaveByHand(t, died, c, room, "closed")
			}
			awaitGone(t, rdb, died.keys.session(c.conn))
			all := seen.await(t, "every leave", func(all []presence.Event) bool {
				return counts(all, presence.KindLeave)[c.conn] >= len(rooms)
			})
			if n := counts(all, presence.KindLeave)[c.conn]; n != len(rooms) {
				t.Errorf("%d leaves, want %d", n, len(rooms))
			}
			wantEmpty(t, rdb, prefix)
		})
	}
}

func leaveByHand(t *testing.T, s *Store, c client, room, reason string) {
	t.Helper()
	_, err := s.call(t.Context(), s.scripts.leave, []string{s.keys.members(app, room)},
		redisMs(t, s)+1000, 0, s.keys.feed(app, room), c.conn.String(), c.inc, reason, "")
	if err != nil {
		t.Fatal(err)
	}
}

func redisMs(t *testing.T, s *Store) int64 {
	t.Helper()
	now, err := direct(s).Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now.UnixMilli()
}

// TestALateJoinBehindADepartureIsEndedAtTheFence sends a join by hand, valid
// as long as one that was under way when the connection departed may be.
func TestALateJoinBehindADepartureIsEndedAtTheFence(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	d := c.departure(presence.ReasonClosed)
	d.Unanswered = true
	s.Depart(d)
	awaitDepartures(t, s)
	fields, err := rdb.HGetAll(t.Context(), s.keys.session(c.conn)).Result()
	if err != nil || fields["state"] != "away" {
		t.Fatalf("session behind the departure: got %v, %v; want it away until its fence", fields, err)
	}
	fence, err := strconv.ParseInt(fields["fence"], 10, 64)
	if err != nil || fence < redisMs(t, s) {
		t.Fatalf("fence is %q, %v", fields["fence"], err)
	}
	_, err = call(t.Context(), rdb, s.scripts.join, []string{s.keys.members(app, "lobby")},
		fence, 0, s.Stamp(), 0, s.keys.feed(app, "lobby"), c.conn.String(), c.inc, 0, `"client":"123"}`)
	if err != nil {
		t.Fatal(err)
	}
	awaitGone(t, rdb, s.keys.session(c.conn))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
	all := seen.await(t, "two leaves", func(all []presence.Event) bool { return counts(all, presence.KindLeave)[c.conn] == 2 })
	if len(all) != 4 {
		t.Errorf("got %d events, want join, leave, join, leave", len(all))
	}
}

func TestAnOperationThatWaitsWhenItsConnectionDepartsIsNotSent(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "lobby"))
	s.departed.add(c.conn, c.inc, s.clock())
	fails(t, s, c.op(presence.OpJoin, "lobby"), presence.CodeUnavailable)
	s.Depart(c.departure(presence.ReasonClosed))
}

func TestClosingMakesDeparturesAndBuriesTheStamp(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	for range 50 {
		c := connect(t, s)
		c.enter(t, s, "lobby")
		s.Depart(c.departure(presence.ReasonClosed))
	}
	closeStore(t, s)
	wantEmpty(t, rdb, prefix)
	names, err := rdb.Keys(t.Context(), prefix+":*").Result()
	if err != nil || len(names) != 2 {
		t.Errorf("keys after the close: got %q, %v; want those of the epochs and the schema", names, err)
	}
	if err := s.Submit(&presence.Op{Kind: presence.OpCount, App: app, Room: "lobby"}); err == nil || err.Code != presence.CodeUnavailable {
		t.Errorf("submit to a closed store: got %v, want unavailable", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestClosingSaysWhatIsLeftWhenRedisIsAway(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s, err := Open(t.Context(), Options{URL: srv.URL(), Prefix: prefix, NodeID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	srv.Kill(t)
	s.Depart(c.departure(presence.ReasonClosed))
	ctx, cancel := contextWithin(t, 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("a close without Redis says that all is well")
	}
}
