package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// resume is the operation of a socket that shows the connection's id.
func (c client) resume() presence.Op {
	op := c.op(presence.OpOpen, "")
	op.Kind, op.Inc = presence.OpResume, 0
	return op
}

// resumed has s resume the connection, and takes its new incarnation.
func (c *client) resumed(t testing.TB, s *Store) *presence.Restored {
	t.Helper()
	op := must(t, s, c.resume())
	if op.NewInc <= c.inc {
		t.Errorf("resumed with incarnation %d, which is not above %d", op.NewInc, c.inc)
	}
	c.inc = op.NewInc
	return op.Restored
}

// handed is the detachment of a socket that was handed an event of a room.
func (c client) handed(room string, rev presence.Revision) presence.Detachment {
	d := c.detachment()
	d.Handed = []presence.Handed{{Room: room, Revision: rev}}
	return d
}

// byHand runs a script as the connection's node would.
func byHand(t testing.TB, rdb *redis.Client, name string, keys []string, args ...any) any {
	t.Helper()
	reply, err := call(t.Context(), rdb, newScript(name), keys, args...)
	if err != nil {
		t.Fatalf("%s by hand: %v", name, err)
	}
	return reply
}

// joinByHand is a join of node n1.1 that was on its way for long.
func (c client) joinByHand(t testing.TB, rdb *redis.Client, k keys, room string) {
	t.Helper()
	byHand(t, rdb, "join", []string{k.members(app, room)}, farAhead, 0, "n1.1", 0,
		k.feed(app, room), c.conn.String(), c.inc, 0, `"client":"123","data":{"n":1}}`)
}

// farAhead is a validUntil that is never past, in ms.
const farAhead = int64(1) << 52

// quiet waits for an event of a connection of its own in each room, and fails
// the test when anything else was told after the first `told` events.
func (l *lines) quiet(t testing.TB, s *Store, told int, rooms ...string) {
	t.Helper()
	last := connect(t, s)
	last.enter(t, s, rooms...)
	all := l.await(t, "the joins that end the test", func(all []presence.Event) bool {
		n := 0
		for _, e := range all {
			if e.Conn == last.conn {
				n++
			}
		}
		return n == len(rooms)
	})
	if got := len(all) - len(rooms); got != told {
		t.Errorf("got %d events, want %d: %+v", got, told, all)
	}
	s.Depart(last.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
}

func TestALostConnectionGoesOnOnAnotherNode(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	seen := listen(t, rdb, a.keys, "in", "out", "left")
	c := connect(t, a)
	c.enter(t, a, "in", "left")
	joined := c.member(t, rdb, a.keys, "in").At
	must(t, a, c.op(presence.OpTrack, "out"))
	must(t, a, c.op(presence.OpLeave, "left"))
	must(t, a, c.op(presence.OpUntrack, "left"))
	old := c
	d := c.handed("in", 77)
	d.Grace = 10 * time.Second // the session's own
	a.Detach(d)
	awaitDepartures(t, a)
	due, _ := strconv.ParseInt(c.session(t, rdb, a.keys)["due"], 10, 64)

	was := c.resumed(t, b)
	if was == nil || was.State != "grace" || was.From != "n1.1" || was.Lost != due-10_000 {
		t.Fatalf("restored %+v, want one of n1.1 in its grace, lost at %d", was, due-10_000)
	}
	if len(was.Rooms) != 2 {
		t.Fatalf("restored rooms %+v, want in and out", was.Rooms)
	}
	for _, room := range was.Rooms {
		switch room.Room {
		case "in":
			if !room.Member || room.Revision == 0 || room.At != joined || string(room.Data) != `{"n":1}` || room.Handed != 77 || room.Track != "p 77 {}" {
				t.Errorf("restored %+v", room)
			}
		case "out":
			if room.Member || room.Revision != 0 || room.At != 0 || room.Handed != 0 || room.Track != "p 0 {}" {
				t.Errorf("restored %+v", room)
			}
		default:
			t.Errorf("restored %+v", room)
		}
	}
	fields := c.session(t, rdb, a.keys)
	if fields["state"] != "live" || fields["node"] != "n2.1" || fields["inc"] != fmt.Sprint(c.inc) {
		t.Errorf("the session is %v", fields)
	}
	member, err := parseMember(c.conn, []byte(rdb.HGet(t.Context(), a.keys.members(app, "in"), c.conn.String()).Val()))
	if err != nil || member.Inc != c.inc || member.Node != "n2.1" {
		t.Errorf("the member is %+v, %v", member, err)
	}
	if op := fails(t, a, old.op(presence.OpUpdate, "in"), presence.CodeFenced); !op.Ended {
		t.Error("an operation of the old node does not say that the connection is no longer its own")
	}
	seen.quiet(t, b, 3, "in", "out", "left")
	if n := testutil.ToFloat64(b.metrics.Resumes.WithLabelValues("ok")); n != 1 {
		t.Errorf("%v resumes counted, want 1", n)
	}
	must(t, b, c.op(presence.OpUpdate, "in"))
	b.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
}

func TestAfterTheGraceOnlyRoomsAreRestored(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	retain := func(o *Options) { o.Retention = time.Minute }
	a, b := openStore(t, srv, prefix, "n1", retain), openStore(t, srv, prefix, "n2", retain)
	seen := listen(t, rdb, a.keys, "lobby")
	c := connect(t, a)
	c.enter(t, a, "lobby")
	d := c.detachment()
	d.Grace = 10 * time.Millisecond
	a.Detach(d)
	seen.await(t, "the leave", func(all []presence.Event) bool { return counts(all, presence.KindLeave)[c.conn] == 1 })
	awaitThat(t, "the session is away", func() bool { return c.session(t, rdb, a.keys)["state"] == "away" })

	was := c.resumed(t, b)
	if was == nil || was.State != "away" || len(was.Rooms) != 1 || was.Rooms[0].Member || was.Rooms[0].Track != "p 0 {}" {
		t.Fatalf("restored %+v, want the room and no membership", was)
	}
	if fields := c.session(t, rdb, a.keys); fields["from"] != fmt.Sprint(c.inc) {
		t.Errorf("from is %s, want the new incarnation %d", fields["from"], c.inc)
	}
	if n := testutil.ToFloat64(b.metrics.Resumes.WithLabelValues("away")); n != 1 {
		t.Errorf("%v resumes counted as away, want 1", n)
	}
	seen.quiet(t, b, 2, "lobby")
	b.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
}

func TestALiveConnectionIsTakenOver(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	seen := listen(t, rdb, a.keys, "lobby")
	c := connect(t, a)
	c.enter(t, a, "lobby")
	must(t, a, presence.Op{Kind: presence.OpTrack, App: app, Room: "lobby", Conn: c.conn, Inc: c.inc, Track: "p 5 {}"})
	sub := rdb.SSubscribe(t.Context(), a.keys.ctl(c.conn.Shard(), "n1.1"))
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := c
	was := c.resumed(t, b)
	if was == nil || was.State != "live" || was.Lost == 0 || was.From != "n1.1" || len(was.Rooms) != 1 || !was.Rooms[0].Member || was.Rooms[0].Handed != 0 {
		t.Fatalf("restored %+v, want a live one with its membership", was)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	for want := fmt.Sprintf("taken %s %d", c.conn, c.inc); ; {
		msg, err := sub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatalf("wait for %q: %v", want, err)
		}
		if msg.Payload == want {
			break
		}
	}
	if op := fails(t, a, old.op(presence.OpTrack, "more"), presence.CodeFenced); !op.Ended {
		t.Error("an operation of the old socket does not say that it has ended")
	}
	seen.quiet(t, b, 1, "lobby")
	b.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
}

func TestAnIdThatIsGoneIsOpenedAnew(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	if was := c.resumed(t, s); was != nil {
		t.Errorf("restored %+v, want nothing", was)
	}
	c.enter(t, s, "lobby")
	if n := testutil.ToFloat64(s.metrics.Resumes.WithLabelValues("new")); n != 1 {
		t.Errorf("%v resumes counted as new, want 1", n)
	}
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestWhoDoesNotOwnAConnectionIsRefused(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	const secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	plain := connect(t, s)
	sealed := client{conn: presence.NewConnID()}
	open := sealed.op(presence.OpOpen, "")
	open.Secret = secret
	sealed.inc = must(t, s, open).NewInc
	for _, tc := range []struct {
		name   string
		c      client
		change func(*presence.Op)
	}{
		{"another client", plain, func(op *presence.Op) { op.Client = "124" }},
		{"no client", plain, func(op *presence.Op) { op.Client = "" }},
		{"another app", plain, func(op *presence.Op) { op.App = "app2" }},
		{"no secret", sealed, func(*presence.Op) {}},
		{"another secret", sealed, func(op *presence.Op) { op.Secret = strings.Repeat("0", 64) }},
	} {
		op := tc.c.resume()
		tc.change(&op)
		if op := fails(t, s, op, presence.CodeForbidden); op.NewInc != 0 || op.Restored != nil {
			t.Errorf("%s: got incarnation %d, restored %+v", tc.name, op.NewInc, op.Restored)
		}
		if fields := tc.c.session(t, rdb, s.keys); fields["inc"] != fmt.Sprint(tc.c.inc) || fields["state"] != "live" {
			t.Errorf("%s: the session became %v", tc.name, fields)
		}
	}
	op := sealed.resume()
	op.Secret, op.Key = secret, "app1.k2"
	if op = must(t, s, op); op.Restored == nil {
		t.Error("with its secret the connection was not restored")
	}
	if fields := sealed.session(t, rdb, s.keys); fields["key"] != "app1.k2" {
		t.Errorf("the session has key %s, want the one that was shown", fields["key"])
	}
	if n := testutil.ToFloat64(s.metrics.Resumes.WithLabelValues("denied")); n != 5 {
		t.Errorf("%v resumes counted as denied, want 5", n)
	}
	sealed.inc = op.NewInc
	s.Depart(sealed.departure(presence.ReasonClosed))
	s.Depart(plain.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
}

func TestASlowSocketTakesNothingFromALaterOne(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	// Taken by a socket that came a minute later.
	later := fmt.Sprint(c.inc + 60_000)
	if err := rdb.HSet(t.Context(), s.keys.session(c.conn), "inc", later).Err(); err != nil {
		t.Fatal(err)
	}
	op := fails(t, s, c.resume(), presence.CodeUnavailable)
	if op.Err.RetryAfterMs == 0 || c.session(t, rdb, s.keys)["inc"] != later {
		t.Errorf("got %+v, and the session is %v", op.Err, c.session(t, rdb, s.keys))
	}
	if n := testutil.ToFloat64(s.metrics.Resumes.WithLabelValues("late")); n != 1 {
		t.Errorf("%v resumes counted as late, want 1", n)
	}
}

func TestASessionThatMovedMeanwhileIsTakenWhereItIs(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	op := c.resume()
	done := make(chan *taking, 1)
	k := &taking{store: s, who: &op, began: s.clock(), newest: farAhead, owner: "n9.9", then: func(k *taking) { done <- k }}
	k.take()
	if k := <-done; k.ending != endTaken || k.owner != "n1.1" || k.inc <= c.inc {
		t.Errorf("ended as %d, owner %s, incarnation %d", k.ending, k.owner, k.inc)
	}
	if n := rdb.Exists(t.Context(), s.keys.node(c.conn.Shard(), "n9.9")).Val(); n != 0 {
		t.Error("the index of a node that never had it was made")
	}
}

func TestADepartureThatSomebodyBeganIsEndedFirst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		begin func(t *testing.T, rdb *redis.Client, k keys, c client)
		state string
		rooms int
	}{
		{"the grace is over and nobody came", func(*testing.T, *redis.Client, keys, client) {}, "away", 3},
		{"claimed, and one of three rooms is left", func(t *testing.T, rdb *redis.Client, k keys, c client) {
			byHand(t, rdb, "claim", []string{k.due(c.conn.Shard()), k.session(c.conn), k.grace(c.conn)}, 60_000, c.conn.String())
			byHand(t, rdb, "leave", []string{k.members(app, "a")}, farAhead, 0, k.feed(app, "a"), c.conn.String(), c.inc, "timeout", "")
		}, "away", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv, prefix := redistest.Shared(t), redistest.Prefix(t)
			rdb := srv.Client(t)
			s := openStore(t, srv, prefix, "n1", func(o *Options) { o.Retention = time.Minute })
			s.claimer.halted.Store(true)
			seen := listen(t, rdb, s.keys, "a", "b", "c")
			c := connect(t, s)
			c.enter(t, s, "a", "b", "c")
			d := c.detachment()
			d.Grace = 0 // over at once
			s.Detach(d)
			awaitDepartures(t, s)
			tc.begin(t, rdb, s.keys, c)
			was := c.resumed(t, s)
			if was == nil || was.State != tc.state || len(was.Rooms) != tc.rooms {
				t.Errorf("restored %+v, want state %s and %d rooms", was, tc.state, tc.rooms)
			}
			all := seen.await(t, "all leaves", func(all []presence.Event) bool { return counts(all, presence.KindLeave)[c.conn] == 3 })
			for _, e := range all {
				if e.Kind == presence.KindLeave && e.Reason != presence.ReasonTimeout {
					t.Errorf("left with reason %s, want timeout", e.Reason)
				}
			}
			seen.quiet(t, s, 6, "a", "b", "c")
			s.Depart(c.departure(presence.ReasonClosed))
			awaitDepartures(t, s)
			wantEmpty(t, rdb, prefix)
		})
	}
}

func TestNothingOfAClosedConnectionIsRestored(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.Retention = time.Minute })
	s.claimer.halted.Store(true)
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	k := s.keys
	// Closed with an operation unanswered, and its node died.
	fence := redisMs(t, s) + 60_000
	byHand(t, rdb, "close", []string{k.session(c.conn), k.grace(c.conn), k.due(c.conn.Shard())}, c.conn.String(), c.inc, 5000, "closed", fence)
	was := c.resumed(t, s)
	if was == nil || was.State != "away" || len(was.Rooms) != 0 {
		t.Errorf("restored %+v, want nothing", was)
	}
	seen.quiet(t, s, 2, "lobby")
	if got := c.session(t, rdb, k)[roomField(app, "lobby")]; got != "x 0 {}" {
		t.Errorf("the room is listed as %q; it must be until the fence", got)
	}
}

func TestAResumeWaitsForTheDetachBeforeIt(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	srv.Pause(t)
	s.Detach(c.handed("lobby", 9))
	o := submit(t, s, c.resume())
	srv.Resume(t)
	op := o.next(t)
	if op.Err != nil || op.Restored.State != "grace" || op.Restored.Rooms[0].Handed != 9 || !op.Restored.Rooms[0].Member {
		t.Fatalf("resumed %v, restored %+v; want the connection in its grace", op.Err, op.Restored)
	}
	c.inc = op.NewInc
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, srv.Client(t), prefix)
}

// TestAResumeWithoutAnAnswerLeavesNothingLive lets Redis hang: whatever of the
// resume it ran, the session has no socket, so it must not stay live.
func TestAResumeWithoutAnAnswerLeavesNothingLive(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	var clients []client
	var resumes []presence.Op
	for range 10 {
		c := connect(t, s)
		c.enter(t, s, "lobby")
		s.Detach(c.detachment())
		clients, resumes = append(clients, c), append(resumes, c.resume())
	}
	awaitDepartures(t, s)
	waits := stalled(t, s, srv, resumes...)
	srv.Resume(t)
	for _, w := range waits {
		if op, ok := <-w; ok && (op.Unknown || op.Err == nil) {
			t.Errorf("settled as %v, unknown %v; want an error", op.Err, op.Unknown)
		}
	}
	awaitDepartures(t, s)
	for i, c := range clients {
		if fields := c.session(t, rdb, s.keys); fields["state"] != "grace" {
			t.Errorf("session %d is %v, want it in its grace", i, fields)
		}
		if was := c.resumed(t, s); was == nil || was.State != "grace" || !was.Rooms[0].Member {
			t.Errorf("the next one restored %+v", was)
		}
	}
	seen.quiet(t, s, len(clients), "lobby")
	for _, c := range clients {
		s.Depart(c.departure(presence.ReasonClosed))
	}
	awaitDepartures(t, s)
}

// TestAResumeThatWasMadeAndNotAnsweredIsUndone has the answer of a resume lost
// on its way: nobody is told of the connection that Redis made live.
func TestAResumeThatWasMadeAndNotAnsweredIsUndone(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	made, notMade := connect(t, s), connect(t, s)
	before := made.inc
	made.resumed(t, s)
	now := redisMs(t, s)
	lost := func(c client, seen int64) outcomes {
		o := make(outcomes, 2)
		op := c.resume()
		op.Done = o
		r := &resume{store: s, op: &op, lane: s.lane(&op)}
		r.take.seen = seen
		if err := s.lane(&op).enter(); err != nil {
			t.Fatal(err)
		}
		r.unknown(now + 50)
		return o
	}
	all := []outcomes{lost(made, before), lost(notMade, notMade.inc)}
	again := made.resume()
	if err := s.Submit(&again); err == nil {
		t.Error("a second resume is taken while it is not known what the first one made")
	}
	for _, o := range all {
		if op := o.next(t); !op.Unknown {
			t.Errorf("told %v first, want that it is not known", op.Err)
		}
		if op := o.next(t); op.Unknown || op.Err == nil {
			t.Errorf("settled as %v, unknown %v; want an error", op.Err, op.Unknown)
		}
	}
	awaitDepartures(t, s)
	if fields := made.session(t, rdb, s.keys); fields["state"] != "grace" {
		t.Errorf("what was made and not answered is %v, want it in its grace", fields)
	}
	if fields := notMade.session(t, rdb, s.keys); fields["state"] != "live" {
		t.Errorf("the connection of a socket that is still there is %v", fields)
	}
}

// TestNoStepIsSentForWhoWasAnswered: a saga has one time for all its steps.
func TestNoStepIsSentForWhoWasAnswered(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	for _, tc := range []struct {
		began int64
		want  fate
	}{{0, fateAnswered}, {s.clock(), fateAnswered}, {s.clock() - int64(maxWait) - 1, fateAway}} {
		done := make(chan fate, 1)
		st := &step{Op: presence.Op{Kind: opOwner, Conn: presence.NewConnID()}, began: tc.began, then: func(st *step) { done <- st.fate }}
		s.ask(st)
		if got := <-done; got != tc.want {
			t.Errorf("a step of a saga that began at %d: fate %d, want %d", tc.began, got, tc.want)
		}
	}
}

// TestAResumeOverADoubtIsUndone: what it did may be lost, and the node did not
// have the connection when it was told to reclaim all it has.
func TestAResumeOverADoubtIsUndone(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c, gone := connect(t, s), client{conn: presence.NewConnID()}
	c.enter(t, s, "lobby")
	s.Detach(c.detachment())
	awaitDepartures(t, s)
	srv.Pause(t)
	waits := []outcomes{submit(t, s, c.resume()), submit(t, s, gone.resume())}
	awaitThat(t, "both are on their way", func() bool {
		laneOf(s).mu.Lock()
		defer laneOf(s).mu.Unlock()
		return laneOf(s).inner.len() == 0
	})
	s.doubts.count.Add(1)
	srv.Resume(t)
	for _, w := range waits {
		if op := w.next(t); op.Err == nil || op.Err.Code != presence.CodeUnavailable || op.NewInc != 0 {
			t.Errorf("got %v with incarnation %d, want unavailable", op.Err, op.NewInc)
		}
	}
	awaitDepartures(t, s)
	for _, c := range []client{c, gone} {
		if got := c.session(t, rdb, s.keys)["state"]; got == "live" {
			t.Error("a session is live, and has no socket")
		}
	}
	if was := c.resumed(t, s); !was.Rooms[0].Member {
		t.Errorf("the next one restored %+v", was)
	}
}

// TestWhatCannotBeAdoptedIsDetached refuses a node the key of one room.
func TestWhatCannotBeAdoptedIsDetached(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a := openStore(t, srv, prefix, "n1")
	args := []any{"acl", "setuser", "u", "on", ">p", "+@all", "allchannels", "resetkeys", "~" + prefix + ":{c*", "~" + prefix + ":{nodes}*", "~" + a.keys.members(app, "a")}
	if err := rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	b := openStore(t, srv, prefix, "n2", func(o *Options) { o.URL = "redis://u:p@" + srv.Addr() + "/0" })
	seen := listen(t, rdb, a.keys, "a", "denied")
	c := connect(t, a)
	c.enter(t, a, "a", "denied")
	a.Detach(c.detachment())
	awaitDepartures(t, a)
	if op := fails(t, b, c.resume(), presence.CodeUnavailable); op.NewInc != 0 || op.Restored != nil {
		t.Errorf("refused with incarnation %d, restored %+v", op.NewInc, op.Restored)
	}
	awaitDepartures(t, b)
	fields := c.session(t, rdb, a.keys)
	if fields["state"] != "grace" || fields["node"] != "n2.1" {
		t.Errorf("the session is %v, want it in its grace", fields)
	}
	if n := b.sessions.Load(); n != 0 {
		t.Errorf("%d sessions are counted, want none", n)
	}
	was := c.resumed(t, a)
	for _, room := range was.Rooms {
		if !room.Member {
			t.Errorf("not a member any more: %+v", room)
		}
	}
	seen.quiet(t, a, 2, "a", "denied")
	a.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, a)
}

// TestAMemberOfAnEarlierLifeLeaves: its leave was told, and then a late join
// made it again.
func TestAMemberOfAnEarlierLifeLeaves(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "lobby")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "lobby"))
	early := client{c.conn, c.inc - 1}
	early.joinByHand(t, rdb, s.keys, "lobby")
	s.Detach(c.detachment())
	awaitDepartures(t, s)
	if was := c.resumed(t, s); was.Rooms[0].Member {
		t.Errorf("restored %+v as a member", was.Rooms[0])
	}
	all := seen.await(t, "its leave", func(all []presence.Event) bool { return len(all) == 2 })
	if all[1].Kind != presence.KindLeave || all[1].Reason != presence.ReasonUnknown {
		t.Errorf("got %+v, want a leave", all[1])
	}
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

// TestALeaveStaysALeave: a join of the first socket lands behind the leave that
// the second one made, and was told. The third must not find a membership.
func TestALeaveStaysALeave(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	for _, c := range []struct {
		name  string
		again func(t *testing.T, c *client, b *Store) // how the second socket gets the connection
	}{
		{"resumed", func(t *testing.T, c *client, b *Store) { c.resumed(t, b) }},
		{"reclaimed", func(t *testing.T, c *client, b *Store) {
			op := must(t, b, c.reclaim(hold("lobby"), presence.Hold{Room: "hall", Track: "p 0 {}"}))
			c.inc = op.NewInc
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			again := c.again
			prefix := prefix + ":" + c.name
			a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
			seen := listen(t, rdb, a.keys, "lobby", "hall")
			c := connect(t, a)
			c.enter(t, a, "lobby")
			must(t, a, c.op(presence.OpTrack, "hall"))
			first := c
			again(t, &c, b)
			must(t, b, c.op(presence.OpLeave, "hall"))
			first.joinByHand(t, rdb, a.keys, "hall")
			was := c.resumed(t, a)
			for _, room := range was.Rooms {
				if want := room.Room == "lobby"; room.Member != want {
					t.Errorf("the third socket is told that it is a member of %s: %v", room.Room, room.Member)
				}
			}
			all := seen.await(t, "the leave of what came late", func(all []presence.Event) bool { return len(all) == 3 })
			if e := all[2]; e.Kind != presence.KindLeave || e.Inc != first.inc {
				t.Errorf("got %+v, want the leave of what came late", e)
			}
			must(t, a, c.op(presence.OpUpdate, "lobby"))
			a.Depart(c.departure(presence.ReasonClosed))
			awaitDepartures(t, a)
			if n := rdb.Exists(t.Context(), a.keys.members(app, "lobby"), a.keys.members(app, "hall")).Val(); n != 0 {
				t.Errorf("%d rooms have a member", n)
			}
		})
	}
}

func TestOfManySocketsOneHasTheConnection(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	seen := listen(t, rdb, a.keys, "lobby")
	c := connect(t, a)
	c.enter(t, a, "lobby")
	var mu sync.Mutex
	var best int64
	var wait sync.WaitGroup
	for i := range 40 {
		s := []*Store{a, b}[i%2]
		wait.Go(func() {
			op := do(t, s, c.resume())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case op.Err == nil && op.NewInc == best:
				t.Errorf("two have incarnation %d", best)
			case op.Err == nil:
				best = max(best, op.NewInc)
			case op.Err.Code != presence.CodeUnavailable:
				t.Errorf("refused with %v", op.Err)
			}
		})
	}
	wait.Wait()
	if got := c.session(t, rdb, a.keys)["inc"]; got != fmt.Sprint(best) {
		t.Errorf("the session has incarnation %s, the highest that was given is %d", got, best)
	}
	seen.quiet(t, b, 1, "lobby")
}
