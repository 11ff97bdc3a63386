package redisstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestWhatIsConnectedWhenANodeRetiresGetsTheGraceOfADrain(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	b := openStore(t, srv, prefix, "n2", watchful)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.DrainGrace = time.Hour })
	c := connectFor(t, s, 100*time.Millisecond)
	c.enter(t, s, "lobby")
	stamp := s.Stamp()
	before := redisMs(t, s)
	closeStore(t, s)
	fields := c.wantState(t, rdb, s.keys, "grace")
	due, _ := strconv.ParseInt(fields["due"], 10, 64)
	if fields["why"] != "timeout" || due < before+time.Hour.Milliseconds() {
		t.Errorf("the session leaves for %q, %d ms behind the retirement; want timeout, after an hour", fields["why"], due-before)
	}
	if !buried(t.Context(), rdb, s.keys, stamp) {
		t.Error("the stamp is not buried")
	}
	back := c.resumeAt(t, rdb, b.keys, b.Stamp())
	b.Depart(back.departure(presence.ReasonClosed))
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
}

// TestARetirementThatStoppedHalfWayIsFinished retires by hand and goes no
// further.
func TestARetirementThatStoppedHalfWayIsFinished(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	dead := openStore(t, srv, prefix, "n1")
	seen := listen(t, rdb, dead.keys, "lobby")
	c := connectFor(t, dead, time.Hour)
	c.enter(t, dead, "lobby")
	k, stamp := dead.keys, dead.Stamp()
	abandon(t, dead)
	if _, err := call(t.Context(), rdb, newScript("retire"), []string{k.lease(stamp), k.registry(), k.nodesDue(), k.reaping()}, stamp, 0, 5000); err != nil {
		t.Fatal(err)
	}
	b := openStore(t, srv, prefix, "n2", watchful, func(o *Options) { o.DrainGrace = 300 * time.Millisecond })
	tick(t, "the stamp is buried", func(ctx context.Context) bool { return buried(ctx, rdb, b.keys, stamp) })
	wantOneLeaveEach(t, seen, 1, presence.ReasonTimeout)
	awaitDepartures(t, b)
	wantEmpty(t, rdb, prefix)
	if lost := testutil.ToFloat64(b.metrics.NodesLost); lost != 0 {
		t.Errorf("%v nodes are counted as lost, want 0: it retired", lost)
	}
}
