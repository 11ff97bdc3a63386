package redisstore

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// save has Redis keep what it has by now: a restart brings that back, and
// nothing that comes behind it.
func save(t testing.TB, rdb *redis.Client) {
	t.Helper()
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// revived restarts Redis, waits until s is told to reclaim, and until it may
// write again.
func revived(t *testing.T, srv *redistest.Server, s *Store, edge desk) {
	t.Helper()
	srv.Restart(t)
	edge.told(t)
	awaitLease(t, s, true)
}

// wantMembers fails the test unless the room has these members and no other.
func wantMembers(t testing.TB, s *Store, room string, want ...client) {
	t.Helper()
	list := must(t, s, presence.Op{Kind: presence.OpMembers, App: app, Room: room}).Snapshot.Members
	got := make(map[presence.ConnID]int64)
	for _, m := range list {
		got[m.Conn] = m.Inc
	}
	for i, c := range want {
		if inc, ok := got[c.conn]; !ok || inc != c.inc {
			t.Errorf("room %s: client %d has incarnation %d in it, want %d", room, i, inc, c.inc)
		}
	}
	if len(got) != len(want) {
		t.Errorf("room %s has %d members, want %d", room, len(got), len(want))
	}
}

// TestNothingAcknowledgedIsLostWithRedissLastWrites restarts Redis with what it
// had before the last of everything.
func TestNothingAcknowledgedIsLostWithRedissLastWrites(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	k := s.keys
	stays, updates, leaves, exits, joins, closes, drops := connect(t, s), connect(t, s), connect(t, s), connect(t, s), connect(t, s), connect(t, s), connect(t, s)
	for _, c := range []client{stays, updates, leaves, exits, closes, drops} {
		c.enter(t, s, "a")
	}
	save(t, rdb)
	before := stays.member(t, rdb, k, "a")
	was := updates.member(t, rdb, k, "a")

	update := updates.op(presence.OpUpdate, "a")
	update.Data = []byte(`{"n":2}`)
	must(t, s, update)
	must(t, s, leaves.op(presence.OpLeave, "a"))
	must(t, s, exits.op(presence.OpLeave, "a"))
	must(t, s, exits.op(presence.OpUntrack, "a"))
	joins.enter(t, s, "a", "b")
	late := connect(t, s)
	late.enter(t, s, "a")
	opened := connect(t, s)
	s.Depart(closes.departure(presence.ReasonClosed))
	s.Detach(drops.handed("a", 5))
	awaitDepartures(t, s)
	last := must(t, s, presence.Op{Kind: presence.OpCount, App: app, Room: "a"}).Revision

	revived(t, srv, s, edge)
	wantMembers(t, s, "a", stays, updates, drops) // what left has left again
	stays.reclaimed(t, s, hold("a"))
	changed := hold("a")
	changed.Data = []byte(`{"n":2}`)
	updates.reclaimed(t, s, changed)
	still := hold("a")
	still.Member = false
	leaves.reclaimed(t, s, still)
	exits.reclaimed(t, s)
	joins.reclaimed(t, s, hold("a"), hold("b"))
	inc := late.inc
	late.reclaimed(t, s, hold("a"))
	opened.reclaimed(t, s)
	awaitDepartures(t, s)

	wantMembers(t, s, "a", stays, updates, joins, late, drops)
	wantMembers(t, s, "b", joins)
	if m := stays.member(t, rdb, k, "a"); m.Revision != before.Revision || m.At != before.At {
		t.Errorf("who stayed was %+v and is %+v", before, m)
	}
	if m := updates.member(t, rdb, k, "a"); string(m.Data) != `{"n":2}` || m.At != was.At || m.Revision <= last {
		t.Errorf("the update is %+v; want it above revision %d", m, last)
	}
	if late.inc <= inc {
		t.Errorf("the session that was lost is made with incarnation %d, not above %d", late.inc, inc)
	}
	for i, c := range []client{stays, updates, leaves, exits, joins, late, opened} {
		if got := c.session(t, rdb, k); got["state"] != "live" || got["inc"] != fmt.Sprint(c.inc) || got["node"] != s.Stamp() {
			t.Errorf("the session of %d is %v", i, got)
		}
	}
	if got := closes.session(t, rdb, k); len(got) != 0 {
		t.Errorf("the session of who closed is %v", got)
	}
	if got := drops.session(t, rdb, k); got["state"] != "grace" {
		t.Errorf("the session of who was lost is %v, want it in its grace", got)
	}
	if got := exits.session(t, rdb, k)[roomField(app, "a")]; got != "" {
		t.Errorf("the room that was left is listed as %q", got)
	}
	if n := testutil.ToFloat64(s.metrics.MasterChanges.WithLabelValues("restart")); n != 1 {
		t.Errorf("%v restarts counted, want 1", n)
	}
	for _, c := range []client{stays, updates, leaves, exits, joins, late, opened} {
		c.awaitEnd(t, s)
	}
	drops.resumed(t, s)
	drops.awaitEnd(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestAllThatIsConnectedComesBackToAnEmptyRedis(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	all := make([]client, 20)
	for i := range all {
		all[i] = connect(t, s)
		all[i].enter(t, s, "lobby", fmt.Sprint("room", i))
	}
	lost := connect(t, s)
	lost.enter(t, s, "lobby")
	s.Detach(lost.detachment())
	awaitDepartures(t, s)
	last := must(t, s, presence.Op{Kind: presence.OpCount, App: app, Room: "lobby"}).Revision

	revived(t, srv, s, edge)
	young := connect(t, s)
	young.enter(t, s, "lobby")
	for i := range all {
		if op := fails(t, s, all[i].op(presence.OpUpdate, "lobby"), presence.CodeFenced); !op.Ended {
			t.Error("an operation before the reclaim does not say that the connection is not there")
		}
		inc := all[i].inc
		holds := all[i].reclaimed(t, s, hold("lobby"), hold(fmt.Sprint("room", i)))
		if all[i].inc <= inc || holds[0].Revision <= last || holds[1].Revision == 0 {
			t.Errorf("reclaimed with incarnation %d after %d and %+v, want revisions above %d", all[i].inc, inc, holds, last)
		}
		must(t, s, all[i].op(presence.OpUpdate, "lobby"))
	}
	awaitDepartures(t, s)
	wantMembers(t, s, "lobby", append(all, young)...)
	if was := lost.resumed(t, s); was != nil {
		t.Errorf("who had no socket is restored as %+v", was)
	}
	if got := s.sessions.Load(); got != int64(len(all))+2 {
		t.Errorf("%d sessions are counted, want %d", got, len(all)+2)
	}
	for _, c := range append(all, young, lost) {
		c.awaitEnd(t, s)
	}
	wantEmpty(t, rdb, prefix)
}

func TestRedisBackWithAllItsDataLosesNobody(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	c := connect(t, s)
	c.enter(t, s, "lobby")
	before, inc, stamp := c.member(t, rdb, s.keys, "lobby"), c.inc, s.Stamp()
	revived(t, srv, s, edge)
	c.reclaimed(t, s, hold("lobby"))
	if after := c.member(t, rdb, s.keys, "lobby"); c.inc != inc || s.Stamp() != stamp || after.Revision != before.Revision || after.Inc != before.Inc {
		t.Errorf("under %s it was %+v, under %s it is %+v", stamp, before, s.Stamp(), after)
	}
	if n := testutil.ToFloat64(s.metrics.Reclaims.WithLabelValues("held")); n != 1 {
		t.Errorf("%v reclaims counted as held, want 1", n)
	}
	c.awaitEnd(t, s)
}

// TestALeaveIsNotRepeatedOverTheJoinBehindIt: both have the same incarnation.
func TestALeaveIsNotRepeatedOverTheJoinBehindIt(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	c := connect(t, s)
	c.enter(t, s, "lobby")
	must(t, s, c.op(presence.OpLeave, "lobby"))
	must(t, s, c.op(presence.OpJoin, "lobby"))
	before := c.member(t, rdb, s.keys, "lobby")
	save(t, rdb)
	revived(t, srv, s, edge)
	if after := c.member(t, rdb, s.keys, "lobby"); after == nil || after.Revision != before.Revision {
		t.Errorf("the member was %+v and is %+v", before, after)
	}
	c.reclaimed(t, s, hold("lobby"))
	c.awaitEnd(t, s)
}

// TestNoRevisionIsToldTwice: what Redis lost had revisions.
func TestNoRevisionIsToldTwice(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	c := connect(t, s)
	c.enter(t, s, "lobby")
	save(t, rdb)
	var last presence.Revision
	for range 5 {
		last = must(t, s, c.op(presence.OpUpdate, "lobby")).Revision
	}
	revived(t, srv, s, edge)
	floor := presence.Revision(s.doubts.floor.Load())
	if floor <= last {
		t.Fatalf("the floor is %d, want it above %d", floor, last)
	}
	c.reclaimed(t, s, hold("lobby"))
	for i, kind := range []presence.OpKind{presence.OpUpdate, presence.OpJoin, presence.OpLeave} {
		if got := must(t, s, c.op(kind, "lobby")).Revision; got != floor+presence.Revision(i) {
			t.Errorf("%s has revision %d, want %d", kind, got, floor+presence.Revision(i))
		}
	}
	c.awaitEnd(t, s)
}

// TestAnotherReplicationIdIsAFailover, and nobody is judged or claimed for a
// lease's time.
func TestAnotherReplicationIdIsAFailover(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.LeaseTTL, o.LeaseBeat = time.Second, 100*time.Millisecond })
	edge := attach(s)
	awaitThat(t, "this node may judge", func() bool { return s.judge() && s.settled() })
	if err := rdb.Do(t.Context(), "debug", "change-repl-id").Err(); err != nil {
		t.Fatal(err)
	}
	edge.told(t)
	if s.judge() || s.settled() {
		t.Error("this node judges at once")
	}
	at := s.doubts.at.Load()
	awaitThat(t, "this node may judge again", func() bool { return s.judge() && s.settled() })
	if took := time.Duration(s.clock() - at); took < time.Second {
		t.Errorf("it waited for %v, want a lease's time", took)
	}
	if n := testutil.ToFloat64(s.metrics.MasterChanges.WithLabelValues("failover")); n != 1 {
		t.Errorf("%v failovers counted, want 1", n)
	}
	must(t, s, connect(t, s).op(presence.OpTrack, "lobby")) // through connections that are known again
}

func TestWhoMissedABeatJudgesNobody(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.LeaseTTL, o.LeaseBeat = time.Second, 100*time.Millisecond })
	if s.judge() {
		t.Error("a node that has just begun judges others")
	}
	awaitThat(t, "this node may judge", s.judge)
	srv.Pause(t)
	awaitThat(t, "it may not", func() bool { return !s.judge() })
	srv.Resume(t)
	beats := s.lease.grant.Load()
	awaitThat(t, "a beat is answered", func() bool { return s.lease.grant.Load() != beats })
	if s.judge() {
		t.Error("it judges at its first beat after an outage")
	}
	if !s.settled() {
		t.Error("an outage put the past of Redis in doubt")
	}
	awaitThat(t, "this node may judge again", s.judge)
	// A beat that came late, though none failed: the process was paused.
	s.doubts.beaten.Store(s.clock() - int64(time.Second))
	s.doubts.beat(true)
	if s.judge() {
		t.Error("it judges after it was paused")
	}
}

// TestABatchForAnotherServerIsNotSent: its floor is of the time before.
func TestABatchForAnotherServerIsNotSent(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "lobby"))
	op := c.op(presence.OpJoin, "lobby")
	b := newBatch(laneOf(s))
	b.now = s.clock()
	b.begin(s.lease.grant.Load())
	b.add(task{op: &op, at: b.now})
	b.build(&b.runs[0])
	s.masters.now.Load().nodes.doubts.Add(1)
	b.exec(t.Context(), b.cmds)
	if err := b.runs[0].cmd.Err(); !errors.Is(err, errStale) || b.sent {
		t.Errorf("got %v, sent: %v; want that it was not sent", err, b.sent)
	}
	if n := must(t, s, c.op(presence.OpCount, "lobby")).Count; n != 0 {
		t.Errorf("the room has %d members", n)
	}
	c.awaitEnd(t, s)
}

// TestADoubtExplainsWhatWasThereBeforeIt, and nothing that came later.
func TestADoubtExplainsWhatWasThereBeforeIt(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	before := connect(t, s)
	revived(t, srv, s, edge)
	after := connect(t, s)
	for _, tc := range []struct {
		name string
		inc  int64
		want bool
	}{{"opened before it", before.inc, true}, {"opened after it", after.inc, false}} {
		if got := s.doubts.lost(tc.inc); got != tc.want {
			t.Errorf("a session that was %s is missing; lost by Redis: %v, want %v", tc.name, got, tc.want)
		}
	}
	s.doubts.at.Store(s.clock() - int64(explains))
	if s.doubts.lost(before.inc) {
		t.Error("a session that is missing long after a doubt is taken for one that Redis lost")
	}
	after.awaitEnd(t, s)
	if op := fails(t, s, after.reclaim(), presence.CodeUnavailable); !op.Ended {
		t.Errorf("got %v, which does not say that the connection has ended", op.Err)
	}
}

func TestLeavesAreRememberedForAWhile(t *testing.T) {
	t.Parallel()
	var r recent[string, int]
	second := int64(time.Second)
	list := func() string {
		text := ""
		r.all(func(key string, value int) { text += key + strconv.Itoa(value) + " " })
		return text
	}
	r.add("a", 1, 0)
	r.add("a", 2, 10*second)
	r.add("b", 3, 31*second)
	if got := list(); got != "a2 b3 " {
		t.Errorf("31 s later: %q", got)
	}
	r.add("c", 4, 62*second)
	if got := list(); got != "b3 c4 " {
		t.Errorf("62 s later: %q", got)
	}
	r.forget("b")
	if got := list(); got != "c4 " {
		t.Errorf("after one is forgotten: %q", got)
	}
	for i := range 3 * repeatMany {
		r.add(strconv.Itoa(i), i, 63*second)
	}
	if n := len(r.young) + len(r.old); n > 2*repeatMany {
		t.Errorf("%d are remembered, want at most %d", n, 2*repeatMany)
	}
}
