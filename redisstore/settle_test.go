package redisstore

import (
	"fmt"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// stalled submits ops while Redis hangs and returns when each is unknown.
func stalled(t *testing.T, s *Store, srv *redistest.Server, ops ...presence.Op) []outcomes {
	t.Helper()
	srv.Pause(t)
	waits := make([]outcomes, len(ops))
	for i, op := range ops {
		waits[i] = submit(t, s, op)
	}
	for i, w := range waits {
		op := w.next(t)
		if op.Err == nil || op.Err.Code != presence.CodeUnavailable {
			t.Fatalf("%s %d while Redis hangs: got %v, want unavailable", op.Kind, i, op.Err)
		}
		if !op.Unknown {
			close(w) // certain: it was not sent
		}
	}
	return waits
}

func TestWhatRedisDidNotAnswerIsSettledOnce(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	const rooms = 40
	var names []string
	for i := range rooms {
		names = append(names, fmt.Sprintf("room%d", i))
	}
	seen := listen(t, rdb, s.keys, names...)
	joiner, updater, leaver := connect(t, s), connect(t, s), connect(t, s)
	var ops []presence.Op
	for _, room := range names {
		must(t, s, joiner.op(presence.OpTrack, room))
		updater.enter(t, s, room)
		leaver.enter(t, s, room)
		update := updater.op(presence.OpUpdate, room)
		update.Data = []byte(`{"n":2}`)
		ops = append(ops, joiner.op(presence.OpJoin, room), update, leaver.op(presence.OpLeave, room))
	}
	waits := stalled(t, s, srv, ops...)
	srv.Resume(t)
	wanted := map[presence.Kind]int{presence.KindJoin: 2 * rooms}
	for i, w := range waits {
		op, ok := <-w
		if ok && (op.Unknown || op.Err != nil) {
			t.Errorf("%s %d is settled as %v", op.Kind, i, op.Err)
		}
		if !ok {
			op = must(t, s, ops[i]) // it was refused, so the caller tries again
		}
		kind := presence.KindUpdate
		switch op.Kind {
		case presence.OpJoin:
			kind = presence.KindJoin
			if m := joiner.member(t, rdb, s.keys, op.Room); m == nil || m.At != op.At {
				t.Errorf("the join of %s says that it was at %d; the member is %+v", op.Room, op.At, m)
			}
		case presence.OpLeave:
			kind = presence.KindLeave
		}
		wanted[kind]++
	}
	for _, c := range []client{joiner, updater, leaver} {
		s.Depart(c.departure(presence.ReasonClosed))
	}
	awaitDepartures(t, s)
	wanted[presence.KindLeave] += 2 * rooms
	all := seen.await(t, "every event", func(all []presence.Event) bool {
		return len(all) >= wanted[presence.KindJoin]+wanted[presence.KindUpdate]+wanted[presence.KindLeave]
	})
	for kind, want := range wanted {
		n := 0
		for _, e := range all {
			if e.Kind == kind {
				n++
			}
		}
		if n != want {
			t.Errorf("%s events: got %d, want %d", kind, n, want)
		}
	}
	wantEmpty(t, rdb, prefix)
}

func TestAnOpenThatWasNotAnsweredLeavesNoSession(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	var opens []presence.Op
	for range 20 {
		opens = append(opens, client{conn: presence.NewConnID()}.op(presence.OpOpen, ""))
	}
	waits := stalled(t, s, srv, opens...)
	srv.Resume(t)
	for _, w := range waits {
		if op, ok := <-w; ok && (op.Unknown || op.Err == nil) {
			t.Errorf("settled as %v, unknown %v; want an error", op.Err, op.Unknown)
		}
	}
	awaitDepartures(t, s)
	wantEmpty(t, srv.Client(t), prefix)
}

func TestAConnectionThatDepartsWithAnUnknownJoinLeavesNoGhost(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	var clients []client
	var joins []presence.Op
	for range 20 {
		c := connect(t, s)
		must(t, s, c.op(presence.OpTrack, "lobby"))
		clients = append(clients, c)
		joins = append(joins, c.op(presence.OpJoin, "lobby"))
	}
	seen := listen(t, rdb, s.keys, "lobby")
	waits := stalled(t, s, srv, joins...)
	for _, c := range clients {
		d := c.departure(presence.ReasonTimeout)
		d.Unanswered = true
		s.Depart(d)
	}
	for _, w := range waits {
		if op, ok := <-w; ok && (op.Unknown || op.Err == nil) {
			t.Errorf("settled as %v, unknown %v; want an error", op.Err, op.Unknown)
		}
	}
	srv.Resume(t)
	awaitDepartures(t, s)
	for _, c := range clients {
		awaitGone(t, rdb, s.keys.session(c.conn))
	}
	wantEmpty(t, rdb, prefix)
	all := seen.await(t, "as many leaves as joins", func(all []presence.Event) bool {
		return len(counts(all, presence.KindJoin)) == len(counts(all, presence.KindLeave))
	})
	for conn, n := range counts(all, presence.KindLeave) {
		if joined := counts(all, presence.KindJoin)[conn]; n != 1 || joined != 1 {
			t.Errorf("%s joined %d times and left %d times", conn, joined, n)
		}
	}
}

// TestACallThatFailedHalfWayIsRepeatedOneByOne lets Redis refuse the channel
// of one room in the middle of a call: what ran before it stays, and is not
// published again.
func TestACallThatFailedHalfWayIsRepeatedOneByOne(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	k := keys{prefix}
	rooms := []string{"a", "denied", "b"}
	args := []any{"acl", "setuser", "u", "on", ">p", "+@all", "~*", "resetchannels", "&*:ctl:*", "&" + k.feed(app, "a"), "&" + k.feed(app, "b")}
	if err := rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	seen := listen(t, rdb, k, "a", "b")
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.URL = "redis://u:p@" + srv.Addr() + "/0" })
	c := connect(t, s)
	for _, room := range rooms {
		must(t, s, c.op(presence.OpTrack, room))
	}
	// All three are taken together: the writers find them at once.
	waits := make([]outcomes, len(rooms))
	laneOf(s).mu.Lock()
	for i, room := range rooms {
		waits[i] = make(outcomes, 1)
		op := c.op(presence.OpJoin, room)
		op.Done = waits[i]
		laneOf(s).queue.push(task{op: &op, at: s.clock()})
		laneOf(s).waiting++
	}
	laneOf(s).filled.Signal()
	laneOf(s).mu.Unlock()
	for i, room := range rooms { // the repeat finds that the denied one is stored, too
		if op := waits[i].next(t); op.Err != nil {
			t.Errorf("join of %s: got %v, unknown %v", room, op.Err, op.Unknown)
		}
	}
	all := seen.await(t, "two joins", func(all []presence.Event) bool { return len(all) >= 2 })
	if n := counts(all, presence.KindJoin)[c.conn]; n != 2 || len(all) != 2 {
		t.Errorf("got %+v, want two joins", all)
	}
	if err := rdb.Do(t.Context(), "acl", "setuser", "u", "allchannels").Err(); err != nil {
		t.Fatal(err)
	}
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}
