package redisstore

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// TestWhatSomebodyFlushedIsMadeAgain: the server is the one that it was, and
// has nothing of what it had.
func TestWhatSomebodyFlushedIsMadeAgain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	edge := attach(s)
	var all []client
	var last presence.Revision
	var since []int64
	for range 30 {
		c := connect(t, s)
		c.enter(t, s, "lobby")
		since = append(since, c.member(t, rdb, s.keys, "lobby").At)
		last = must(t, s, c.op(presence.OpUpdate, "lobby")).Revision
		all = append(all, c)
	}
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	seen := listen(t, rdb, s.keys, "lobby")
	s.lease.hurry()
	edge.told(t)
	if s.Stamp() != "n1.2" {
		t.Errorf("the stamp is %s; one that this process had may not come again", s.Stamp())
	}
	for i := range all {
		c := &all[i]
		inc := c.inc
		lost := hold("lobby")
		lost.At = since[i]
		holds := c.reclaimed(t, s, lost)
		if c.inc <= inc || holds[0].Revision <= last {
			t.Errorf("reclaimed with incarnation %d behind %d, revision %d behind %d", c.inc, inc, holds[0].Revision, last)
		}
		if m := c.member(t, rdb, s.keys, "lobby"); m == nil || m.Inc != c.inc || m.Node != s.Stamp() || m.At != since[i] {
			t.Errorf("the member is %+v, joined %d", m, since[i])
		}
	}
	seen.quiet(t, s, len(all), "lobby")
	if n := testutil.ToFloat64(s.metrics.Reclaims.WithLabelValues("asserted")); n != float64(len(all)) {
		t.Errorf("%v reclaims counted as asserted, want %d", n, len(all))
	}
	if n := s.sessions.Load(); n != int64(len(all)) {
		t.Errorf("%d sessions are counted, want %d", n, len(all))
	}
	if v := rdb.Get(t.Context(), s.keys.schema()).Val(); v == "" {
		t.Error("the version of the keys is not there")
	}
	for _, c := range all {
		s.Depart(c.departure(presence.ReasonClosed))
	}
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

// TestWhoComesBackIsTheMemberThatItWas: whoever knew the members before finds
// the same memberships, whichever node makes them again.
func TestWhoComesBackIsTheMemberThatItWas(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	stores := []*Store{openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")}
	var edges []desk
	var all []client
	var holds []presence.Hold
	for _, s := range stores {
		edges = append(edges, attach(s))
		c, h := connect(t, s), hold("lobby")
		must(t, s, c.op(presence.OpTrack, "lobby"))
		h.At = must(t, s, c.op(presence.OpJoin, "lobby")).At
		if m := c.member(t, rdb, s.keys, "lobby"); m.At != h.At || h.At == 0 {
			t.Fatalf("the join says that it was at %d; the member is %+v", h.At, m)
		}
		all, holds = append(all, c), append(holds, h)
	}
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i, s := range stores {
		s.lease.hurry()
		edges[i].told(t)
	}
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	seen := listen(t, rdb, stores[0].keys, "lobby")
	for i, s := range stores {
		if h := all[i].reclaimed(t, s, holds[i])[0]; h.At != holds[i].At {
			t.Errorf("the hold is since %d, want %d", h.At, holds[i].At)
		}
	}
	for _, e := range seen.await(t, "both joins", func(all []presence.Event) bool { return len(all) == 2 }) {
		if e.Kind != presence.KindJoin || e.Time < now.UnixMilli() {
			t.Errorf("told a %s of %d, want a join of now", e.Kind, e.Time)
		}
	}
	for i, s := range stores {
		if m := all[i].member(t, rdb, s.keys, "lobby"); m == nil || m.At != holds[i].At {
			t.Errorf("the member is %+v, want it since %d", m, holds[i].At)
		}
		s.Depart(all[i].departure(presence.ReasonClosed))
		awaitDepartures(t, s)
	}
	wantEmpty(t, rdb, prefix)
}

// TestWhoIsOnlyMissingHasNotLeft: a Redis that came back empty has lost all
// members, until their nodes write them again. Whoever watches hears nothing of
// that; only of the one who had no socket, and is gone with his session.
func TestWhoIsOnlyMissingHasNotLeft(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	quick := func(o *Options) { o.LeaseTTL = 2 * time.Second }
	s, other := openStore(t, srv, prefix, "n1", quick), openStore(t, srv, prefix, "n2", quick)
	edge := attach(s)
	var all []client
	var holds []presence.Hold
	for range 5 {
		c, h := connect(t, s), hold("lobby")
		must(t, s, c.op(presence.OpTrack, "lobby"))
		h.At = must(t, s, c.op(presence.OpJoin, "lobby")).At
		all, holds = append(all, c), append(holds, h)
	}
	away := connect(t, s)
	away.enter(t, s, "lobby")
	seen := newSubscriber(t)
	must(t, other, presence.Op{Kind: presence.OpWatch, App: app, Room: "lobby", Sink: seen})
	s.Detach(away.detachment())
	awaitDepartures(t, s)

	srv.Kill(t)
	srv.Restart(t)
	edge.told(t)
	awaitLease(t, s, true)
	for i := range all {
		all[i].reclaimed(t, s, holds[i])
	}
	young := connect(t, s)
	young.enter(t, s, "lobby")
	all = append(all, young)
	events := seen.wait("the leave of who was away", func(events []*presence.Event, _ []string) bool {
		return toldOf(events, presence.KindLeave) > 0
	})
	for _, e := range events {
		switch {
		case e.Kind == presence.KindLeave && (e.Conn != away.conn || e.Reason != presence.ReasonUnknown):
			t.Errorf("a leave of %s was told, for %q", e.Conn, e.Reason)
		case e.Kind == presence.KindJoin && e.Conn != young.conn:
			t.Errorf("a join of %s was told, who never left", e.Conn)
		}
	}
	wantMembers(t, other, "lobby", all...)
	for _, c := range all {
		s.Depart(c.departure(presence.ReasonClosed))
	}
	awaitDepartures(t, s)
	seen.wait("every leave", func(events []*presence.Event, _ []string) bool {
		return toldOf(events, presence.KindLeave) == 1+len(all)
	})
}
