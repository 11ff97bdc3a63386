package redisstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// desk is an edge that notes what it is told.
type desk struct {
	noEdge
	epochs chan int64
}

// noEdge has no connection.
type noEdge struct{}

func (noEdge) Taken(presence.ConnID, int64)                           {}
func (noEdge) Late(_ presence.ConnID, answer func(payloads [][]byte)) { answer(nil) }
func (noEdge) Connections(answer func([]presence.Held))               { answer(nil) }
func (noEdge) Reclaim(int64)                                          {}

func (d desk) Reclaim(epoch int64) { d.epochs <- epoch }

// attach gives s a desk.
func attach(s *Store) desk {
	d := desk{epochs: make(chan int64, 16)}
	s.Attach(d)
	return d
}

// told waits until everything is to be reclaimed.
func (d desk) told(t testing.TB) int64 {
	t.Helper()
	select {
	case epoch := <-d.epochs:
		return epoch
	case <-time.After(waitFor):
		t.Fatal("nothing was to be reclaimed")
		panic("unreachable")
	}
}

// hold is a room in which the connection is a member, with the data of
// client.op.
func hold(room string) presence.Hold {
	return presence.Hold{Room: room, Track: "p 0 {}", Member: true, ClientJSON: []byte(`"123"`), Data: []byte(`{"n":1}`)}
}

// reclaim is the operation that has the store hold the connection so.
func (c client) reclaim(holds ...presence.Hold) presence.Op {
	op := c.op(presence.OpOpen, "")
	op.Kind, op.Inc, op.Holds = presence.OpReclaim, c.inc, holds
	return op
}

// reclaimed has s reclaim the connection, and takes its incarnation.
func (c *client) reclaimed(t testing.TB, s *Store, holds ...presence.Hold) []presence.Hold {
	t.Helper()
	op := must(t, s, c.reclaim(holds...))
	c.inc = op.NewInc
	return op.Holds
}

// member reads the connection's member of a room; nil: it is none.
func (c client) member(t testing.TB, rdb *redis.Client, k keys, room string) *presence.Member {
	t.Helper()
	text, err := rdb.HGet(t.Context(), k.members(app, room), c.conn.String()).Result()
	if err == redis.Nil {
		return nil
	}
	m, bad := parseMember(c.conn, []byte(text))
	if err != nil || bad != nil {
		t.Fatalf("read a member of %s: %v, %v", room, err, bad)
	}
	return &m
}

func TestWhatIsNotLostIsNotWritten(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, s.keys, "a", "b")
	c := connect(t, s)
	c.enter(t, s, "a")
	must(t, s, presence.Op{Kind: presence.OpTrack, App: app, Room: "b", Conn: c.conn, Inc: c.inc, Track: `- 7 {"presence":["join"]}`})
	before, was := c.session(t, rdb, s.keys), c.member(t, rdb, s.keys, "a")
	inc := c.inc
	holds := c.reclaimed(t, s, hold("a"), presence.Hold{Room: "b", Track: `- 0 {"presence":["join"]}`})
	if c.inc != inc || holds[0].Revision != was.Revision || holds[1].Revision != 0 {
		t.Errorf("reclaimed with incarnation %d and %+v, want %d and revision %d", c.inc, holds, inc, was.Revision)
	}
	after := c.session(t, rdb, s.keys)
	for field, value := range before {
		if after[field] != value {
			t.Errorf("the session's %s was %q and is %q", field, value, after[field])
		}
	}
	if n := testutil.ToFloat64(s.metrics.Reclaims.WithLabelValues("held")); n != 1 {
		t.Errorf("%v reclaims counted as held, want 1", n)
	}
	seen.quiet(t, s, 1, "a", "b")
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestWhatIsMissingIsWrittenAgain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	k := s.keys
	c, other := connect(t, s), connect(t, s)
	rooms := []string{"join", "update", "inc", "leave", "left", "track", "subs", "old"}
	other.enter(t, s, rooms...)
	c.enter(t, s, rooms...)
	ctx := t.Context()
	set := func(room, value string) {
		if err := rdb.HSet(ctx, k.members(app, room), c.conn.String(), value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	value := func(room string, change func(*presence.Member)) string {
		m := *c.member(t, rdb, k, room)
		change(&m)
		return formatMember(&m)
	}
	since := c.member(t, rdb, k, "join").At - 60_000 // as if it had been long
	rdb.HDel(ctx, k.members(app, "join"), c.conn.String())
	set("update", value("update", func(m *presence.Member) { m.Data = []byte(`"older"`) }))
	set("inc", value("inc", func(m *presence.Member) { m.Inc -= 5; m.Node = "n0.1" }))
	set("old", value("old", func(m *presence.Member) { m.Inc -= 9; m.At = since }))
	rdb.HSet(ctx, k.session(c.conn), "from", c.inc-5) // "inc" is of this life, "old" is not
	rdb.HDel(ctx, k.session(c.conn), roomField(app, "track"), roomField(app, "join"))
	before := map[string]*presence.Member{}
	for _, room := range rooms {
		before[room] = c.member(t, rdb, k, room)
	}
	seen := listen(t, rdb, k, rooms...)

	here := []presence.Hold{hold("join"), hold("update"), hold("inc"), hold("leave"), hold("track"), hold("subs"), hold("old")}
	for i := range here {
		here[i].At = since // which counts where the room has no member
	}
	here[3].Member = false
	here[5].Track = `p 0 {"presence":["join"]}`
	holds := c.reclaimed(t, s, here...) // and "left" was left
	all := seen.await(t, "the events of what was lost", func(all []presence.Event) bool { return len(all) >= 6 })
	var kinds []string
	for _, e := range all {
		kinds = append(kinds, e.Kind.String())
	}
	slices.Sort(kinds)
	if want := []string{"join", "join", "leave", "leave", "leave", "update"}; !slices.Equal(kinds, want) {
		t.Errorf("events: got %v, want %v", kinds, want)
	}
	for i, h := range holds {
		m := c.member(t, rdb, k, h.Room)
		switch {
		case !h.Member && m == nil:
		case m == nil || !h.Member:
			t.Errorf("%s: got %+v, want a member: %v", h.Room, m, h.Member)
		case m.Inc != c.inc || string(m.Data) != `{"n":1}` || m.Node != "n1.1" || m.Revision != h.Revision:
			t.Errorf("%s: got %+v, hold %d says revision %d", h.Room, m, i, h.Revision)
		case h.Room == "old": // its leave was told
			if m.At == since || h.At == since {
				t.Errorf("old: goes on as the membership of an earlier life")
			}
		case h.Room == "join":
			if m.At != since || h.At != since {
				t.Errorf("join: is since %d, the hold since %d; want %d", m.At, h.At, since)
			}
		case m.At != before[h.Room].At || h.At != m.At:
			t.Errorf("%s: is since %d, the hold since %d; want %d", h.Room, m.At, h.At, before[h.Room].At)
		}
	}
	if c.member(t, rdb, k, "left") != nil {
		t.Error("a room that was left has the member still")
	}
	fields := c.session(t, rdb, k)
	if got := fields[roomField(app, "subs")]; got != `p 0 {"presence":["join"]}` {
		t.Errorf("the changed subscription is listed as %q", got)
	}
	if got := fields[roomField(app, "left")]; got != "" {
		t.Errorf("a room that was left is listed as %q", got)
	}
	if fields[roomField(app, "track")] == "" || fields[roomField(app, "join")] == "" {
		t.Errorf("rooms are missing in %v", fields)
	}
	if n := testutil.ToFloat64(s.metrics.Reclaims.WithLabelValues("asserted")); n != 1 {
		t.Errorf("%v reclaims counted as asserted, want 1", n)
	}
	seen.quiet(t, s, 6, rooms...)
	s.Depart(c.departure(presence.ReasonClosed))
	s.Depart(other.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestASessionThatSomebodyEndedIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	gone, kicked := connect(t, s), connect(t, s)
	for _, c := range []client{gone, kicked} {
		c.enter(t, s, "lobby")
	}
	gone.awaitEnd(t, s)
	k := s.keys
	byHand(t, rdb, "close", []string{k.session(kicked.conn), k.grace(kicked.conn), k.due(kicked.conn.Shard())},
		kicked.conn.String(), kicked.inc, 60_000, "kicked", 0)
	for _, c := range []client{gone, kicked} {
		if op := fails(t, s, c.reclaim(hold("lobby")), presence.CodeUnavailable); !op.Ended {
			t.Errorf("got %v, which does not say that the connection has ended", op.Err)
		}
	}
	if n := testutil.ToFloat64(s.metrics.Reclaims.WithLabelValues("gone")); n != 2 {
		t.Errorf("%v reclaims counted as gone, want 2", n)
	}
	if rdb.Exists(t.Context(), k.session(gone.conn)).Val() != 0 || kicked.session(t, rdb, k)["state"] != "leaving" {
		t.Error("what was ended is there again")
	}
}

// awaitEnd departs the connection and waits until nothing of it is left.
func (c client) awaitEnd(t testing.TB, s *Store) {
	t.Helper()
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
}

// condemned opens two nodes and has the second find the first one dead, which
// takes a new stamp and is to reclaim the connection that it has.
func condemned(t *testing.T, grace time.Duration, rooms ...string) (a, b *Store, c client) {
	t.Helper()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	retain := func(o *Options) { o.Retention = time.Minute }
	a, b = openStore(t, srv, prefix, "n1", retain), openStore(t, srv, prefix, "n2", retain)
	edge := attach(a)
	c = connectFor(t, a, grace)
	c.enter(t, a, rooms...)
	var dead corpse
	for dead.stamp == "" { // unless it beats in between
		lapse(t, direct(b), b.keys, "n1.1")
		var err error
		if dead, err = b.reaper.judge(t.Context(), "n1.1"); err != nil {
			t.Fatal(err)
		}
	}
	left, err := b.reaper.left(t.Context(), dead)
	if err == nil {
		err = b.reaper.empty(t.Context(), dead, left)
	}
	if err != nil {
		t.Fatal(err)
	}
	edge.told(t)
	awaitLease(t, a, true)
	return a, b, c
}

func TestACondemnedNodeTakesItsConnectionsBack(t *testing.T) {
	t.Parallel()
	a, b, c := condemned(t, time.Minute, "lobby")
	seen := listen(t, direct(b), b.keys, "lobby")
	op := fails(t, a, c.op(presence.OpUpdate, "lobby"), presence.CodeFenced)
	if !op.Ended {
		t.Error("an operation under the old stamp does not say that it has ended")
	}
	inc := c.inc
	holds := c.reclaimed(t, a, hold("lobby"))
	m := c.member(t, direct(a), a.keys, "lobby")
	if c.inc <= inc || m == nil || m.Inc != c.inc || m.Node != "n1.2" || holds[0].Revision != m.Revision {
		t.Errorf("reclaimed with %d after %d, member %+v, holds %+v", c.inc, inc, m, holds)
	}
	must(t, a, c.op(presence.OpUpdate, "lobby"))
	seen.quiet(t, b, 1, "lobby") // that update
	if n := testutil.ToFloat64(a.metrics.Reclaims.WithLabelValues("held")); n != 1 {
		t.Errorf("%v reclaims counted as held, want 1", n)
	}
	c.awaitEnd(t, a)
}

func TestACondemnedNodeJoinsAgainWhoLeft(t *testing.T) {
	t.Parallel()
	a, b, c := condemned(t, 10*time.Millisecond, "lobby")
	awaitThat(t, "its memberships have ended", func() bool { return c.session(t, direct(b), b.keys)["state"] == "away" })
	seen := listen(t, direct(b), b.keys, "lobby")
	holds := c.reclaimed(t, a, hold("lobby"))
	all := seen.await(t, "the join", func(all []presence.Event) bool { return len(all) == 1 })
	if e := all[0]; e.Kind != presence.KindJoin || e.Revision != holds[0].Revision || e.Inc != c.inc {
		t.Errorf("got %+v, holds %+v; want a join", e, holds)
	}
	c.awaitEnd(t, a)
}

func TestACondemnedNodeForgetsWhoWentToAnother(t *testing.T) {
	t.Parallel()
	a, b, c := condemned(t, time.Minute, "lobby")
	old := c
	if was := c.resumed(t, b); was.State != "grace" || was.Rooms[0].Handed != 0 {
		t.Errorf("restored %+v", was)
	}
	op := fails(t, a, old.reclaim(hold("lobby")), presence.CodeFenced)
	if !op.Ended {
		t.Error("the node is not told to forget the socket")
	}
	if got := c.session(t, direct(b), b.keys); got["node"] != "n2.1" || c.member(t, direct(b), b.keys, "lobby").Inc != c.inc {
		t.Errorf("the other node's session became %v", got)
	}
	if n := testutil.ToFloat64(a.metrics.Reclaims.WithLabelValues("taken")); n != 1 {
		t.Errorf("%v reclaims counted as taken, want 1", n)
	}
	c.awaitEnd(t, b)
}

// lostStamp has a node lose its stamp and nothing else.
func lostStamp(t *testing.T, s *Store) {
	t.Helper()
	stamp, edge := s.Stamp(), attach(s)
	if err := direct(s).HDel(t.Context(), s.keys.registry(), stamp).Err(); err != nil {
		t.Fatal(err)
	}
	s.lease.hurry()
	edge.told(t)
	awaitThat(t, "the new stamp may write", func() bool {
		_, g, ok := s.lease.window()
		return ok && g.stamp != stamp
	})
}

// TestANodeIsNotToldThatItTookFromItself: it would forget the very socket.
func TestANodeIsNotToldThatItTookFromItself(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	sub := rdb.SSubscribe(t.Context(), s.keys.ctl(c.conn.Shard(), "n1.1"))
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	lostStamp(t, s)
	c.reclaimed(t, s)
	if err := rdb.SPublish(t.Context(), s.keys.ctl(c.conn.Shard(), "n1.1"), "last").Err(); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(msg.Payload, "taken") {
			t.Errorf("told %q", msg.Payload)
		}
		if msg.Payload == "last" {
			break
		}
	}
	if fields := c.session(t, rdb, s.keys); fields["fence"] == "" {
		t.Errorf("the session has no fence against the old stamp: %v", fields)
	}
}

// TestAReclaimWithoutAnAnswerIsBegunAgain has Redis hang in the middle of many,
// and their sockets be lost meanwhile.
func TestAReclaimWithoutAnAnswerIsBegunAgain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	var stay, lost, end []client
	for range 5 {
		for _, list := range []*[]client{&stay, &lost, &end} {
			c := connect(t, s)
			c.enter(t, s, "lobby")
			*list = append(*list, c)
		}
	}
	lostStamp(t, s)
	seen := listen(t, rdb, s.keys, "lobby")
	var all []client
	var ops []presence.Op
	for _, c := range slices.Concat(stay, lost, end) {
		all, ops = append(all, c), append(ops, c.reclaim(hold("lobby")))
	}
	waits := stalled(t, s, srv, ops...)
	for _, c := range lost {
		s.Detach(c.detachment())
	}
	for _, c := range end {
		s.Depart(c.departure(presence.ReasonClosed))
	}
	srv.Resume(t)
	for i, w := range waits {
		if op := w.next(t); op.Err != nil || op.NewInc <= all[i].inc {
			t.Fatalf("reclaim %d is settled as %v with incarnation %d", i, op.Err, op.NewInc)
		}
	}
	awaitDepartures(t, s)
	for _, c := range stay {
		if got := c.session(t, rdb, s.keys)["state"]; got != "live" {
			t.Errorf("the session of a connected socket is %s", got)
		}
	}
	for _, c := range lost {
		if got := c.session(t, rdb, s.keys)["state"]; got != "grace" {
			t.Errorf("the session of a lost socket is %q, want grace", got)
		}
	}
	for _, c := range end {
		// It is there until no write of the old stamp can come any more.
		if got := c.session(t, rdb, s.keys); got["state"] != "away" || got["why"] != "closed" {
			t.Errorf("the session of a closed connection is %v", got)
		}
	}
	seen.await(t, "the leaves of those who closed", func(all []presence.Event) bool { return len(all) == len(end) })
	if got := s.sessions.Load(); got != int64(len(stay)) {
		t.Errorf("%d sessions are counted, want %d", got, len(stay))
	}
}

// TestAReclaimKnowsWhatItMade: the answer of its resume was lost.
func TestAReclaimKnowsWhatItMade(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	for _, tried := range []bool{true, false} {
		c := connect(t, s)
		c.enter(t, s, "lobby")
		made := c
		made.resumed(t, s)
		o := make(outcomes, 2)
		op := c.reclaim(hold("lobby"))
		op.Done = o
		r := &reclaim{all: s.reclaims, store: s, op: &op, conn: c.conn, weight: 2, inc: op.Inc, tried: tried, began: s.clock()}
		s.reclaims.mu.Lock()
		s.reclaims.all[c.conn] = r
		s.reclaims.weight += r.weight
		s.reclaims.mu.Unlock()
		r.read()
		switch op := o.next(t); {
		case tried && (op.Err != nil || op.NewInc != made.inc):
			t.Errorf("ended as %v with incarnation %d, want %d", op.Err, op.NewInc, made.inc)
		case !tried && (op.Err == nil || !op.Ended):
			t.Errorf("ended as %v, though another socket here has it", op.Err)
		}
		made.awaitEnd(t, s)
	}
}

// TestOnlySoManyAreReclaimedAtATime counts the turns that are taken.
func TestOnlySoManyAreReclaimedAtATime(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	var ops []presence.Op
	for range 2 * reclaimWeight {
		c := connect(t, s)
		ops = append(ops, c.reclaim())
	}
	s.reclaims.notBefore(time.Hour)
	var waits []outcomes
	for _, op := range ops {
		waits = append(waits, submit(t, s, op))
	}
	srv.Pause(t)
	s.reclaims.notBefore(0)
	awaitThat(t, "the first are under way", func() bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return len(s.turns.held) >= reclaimWeight
	})
	s.turns.mu.Lock()
	if n := len(s.turns.held); n != reclaimWeight {
		t.Errorf("%d are under way, want %d", n, reclaimWeight)
	}
	s.turns.mu.Unlock()
	srv.Resume(t)
	for _, w := range waits {
		op := w.next(t)
		if op.Unknown {
			op = w.next(t)
		}
		if op.Err != nil {
			t.Fatal(op.Err)
		}
	}
	s.reclaims.mu.Lock()
	defer s.reclaims.mu.Unlock()
	if s.reclaims.weight != 0 || len(s.reclaims.all) != 0 {
		t.Errorf("weight %d and %d reclaims are left", s.reclaims.weight, len(s.reclaims.all))
	}
}
