package redisstore

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// session writes what the look back reads of c's session.
func (r *rig) session(c presence.ConnID, inc int64, node string) {
	r.t.Helper()
	if err := r.redis.HSet(r.t.Context(), r.feed.keys.session(c), "inc", inc, "node", node).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// TestConnectionThatWasTakenWhileTheLinkWasBrokenIsFound: the notice is lost,
// and no probe may count before the edge knows all the same.
func TestConnectionThatWasTakenWhileTheLinkWasBrokenIsFound(t *testing.T) {
	r, edge := newNode(t, redistest.Start(t), redistest.Prefix(t), "n1.1")
	r.session(conn(1), 10, "n1.1") // as it was
	r.session(conn(2), 12, "n2.1") // taken
	r.session(conn(3), 10, "n2.1") // taken, at our incarnation
	r.session(conn(4), 9, "n2.1")  // Redis lost what we did
	r.session(conn(5), 12, "n1.1") // taken by another socket of this node
	r.redis.Set(t.Context(), r.feed.keys.session(conn(6)), "somebody's hand", 0)
	for n := range byte(7) { // conn(0) has no session
		edge.held = append(edge.held, presence.Held{Conn: conn(n), Inc: 10})
	}
	edge.hold = make(chan struct{})
	before := r.ups[0].probeBack.Load()

	r.cutLink()
	r.until("all notices are subscribed", r.ups[0].hears)
	r.probe(1)
	r.onLoop(func() {
		if r.ups[0].heard.sure || len(r.ups[0].heard.probes) > 0 || r.ups[0].probeBack.Load() != before {
			t.Error("a probe counts before the connections were looked at")
		}
	})
	close(edge.hold)
	r.until("the connections were looked at", func() bool { return r.ups[0].heard.sure })
	want := []presence.Held{{Conn: conn(2), Inc: 12}, {Conn: conn(3), Inc: 11}}
	got := []presence.Held{edge.next(t), edge.next(t)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	if n := len(edge.taken); n > 0 {
		t.Errorf("%d more were taken", n)
	}
	r.probe(2)
	r.until("the probe is back", func() bool { return r.ups[0].probeBack.Load() > before })
}

func TestLookBackIsDoneInChunks(t *testing.T) {
	r, edge := newNode(t, redistest.Start(t), redistest.Prefix(t), "n1.1")
	var last presence.ConnID
	for n := range 2*lookBackChunk + 5 {
		copy(last[:], fmt.Sprintf("%010d", n))
		edge.held = append(edge.held, presence.Held{Conn: last, Inc: 10})
	}
	r.session(last, 11, "n2.1")
	r.cutLink()
	if got, want := edge.next(t), (presence.Held{Conn: last, Inc: 11}); got != want {
		t.Errorf("taken is %+v, want %+v", got, want)
	}
	r.until("the connections were looked at", func() bool { return r.ups[0].heard.sure })
}

// TestLookBackForEndedNotices: Redis ends one of the subscriptions. The probes,
// in another shard, would come back all the same.
func TestLookBackForEndedNotices(t *testing.T) {
	r, edge := newNode(t, redistest.Shared(t), redistest.Prefix(t), "n1.1")
	c := conn(9)
	r.session(c, 11, "n2.1")
	edge.held = []presence.Held{{Conn: c, Inc: 10}}
	edge.hold = make(chan struct{})
	r.onLoop(func() { // behind the feed's back: the answer is one that nobody expects
		r.ups[0].link.send(command{verb: verbUnsubscribe, arg: r.feed.keys.ctl(c.Shard(), "n1.1")})
	})
	r.until("it is noticed", func() bool { return !r.ups[0].heard.sure })
	r.until("it is subscribed again", r.ups[0].hears)
	r.probe(1)
	r.onLoop(func() {
		if r.ups[0].heard.sure || len(r.ups[0].heard.probes) > 0 {
			t.Error("a probe counts before the connections were looked at")
		}
	})
	close(edge.hold)
	if got, want := edge.next(t), (presence.Held{Conn: c, Inc: 11}); got != want {
		t.Errorf("taken is %+v, want %+v", got, want)
	}
	r.until("the connections were looked at", func() bool { return r.ups[0].heard.sure })
}

func TestLookBackIsDoneAgainUntilRedisAnswers(t *testing.T) {
	r, edge := newNode(t, redistest.Start(t), redistest.Prefix(t), "n1.1")
	c := conn(9)
	r.session(c, 11, "n2.1")
	edge.held = []presence.Held{{Conn: c, Inc: 10}}
	r.onLoop(func() {
		r.ups[0].heard.sure = false
		r.ups[0].heard.round++
		r.ups[0].haveLooked(r.ups[0].heard.round, edge.held, nil, errDeaf)
		if r.ups[0].heard.sure {
			t.Error("the connections count as looked at")
		}
	})
	edge.next(t)
	r.until("the connections were looked at", func() bool { return r.ups[0].heard.sure })
}
