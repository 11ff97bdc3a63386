package redisstore

import (
	"testing"

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
	for range 30 {
		c := connect(t, s)
		c.enter(t, s, "lobby")
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
		holds := c.reclaimed(t, s, hold("lobby"))
		if c.inc <= inc || holds[0].Revision <= last {
			t.Errorf("reclaimed with incarnation %d behind %d, revision %d behind %d", c.inc, inc, holds[0].Revision, last)
		}
		if m := c.member(t, rdb, s.keys, "lobby"); m == nil || m.Inc != c.inc || m.Node != s.Stamp() {
			t.Errorf("the member is %+v", m)
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
