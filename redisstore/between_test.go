package redisstore

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestTakenReachesTheEdge(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	e := attachNode(a)
	for range 10 { // in as many shards
		c := connect(t, a)
		op := must(t, b, c.resume())
		if got, want := e.nextTaken(t), (presence.Held{Conn: c.conn, Inc: op.NewInc}); got != want {
			t.Errorf("the edge was told of %+v, want %+v", got, want)
		}
	}
}

func TestLateAcknowledgementsFromTheOldNode(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	e := attachNode(a)
	own := attachNode(b)
	late := func(s *Store, c client, from string) []string {
		t.Helper()
		answers := make(chan [][]byte, 2)
		s.Late(c.conn, from, func(p [][]byte) { answers <- p })
		select {
		case p := <-answers:
			var list []string
			for _, one := range p {
				list = append(list, string(one))
			}
			return list
		case <-time.After(waitFor):
			t.Fatal("late was not answered")
			panic("unreachable")
		}
	}
	c := connect(t, a)
	want := []string{`{"ackId":"1"}`, `{"ackId":"2","body":"` + strings.Repeat("x", 150_000) + `"}`, `{"ackId":"3"}`}
	owe := func(e *nodeEdge) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, w := range want {
			e.late[c.conn] = append(e.late[c.conn], []byte(w))
		}
	}
	owe(e)
	if got := late(b, c, "n7.1"); got != nil {
		t.Errorf("a node that is dead owes %.80q", got)
	}
	if got := late(b, c, ""); got != nil {
		t.Errorf("nobody owes %.80q", got)
	}
	if diff := cmp.Diff(want, late(b, c, a.Stamp())); diff != "" {
		t.Errorf("late (-want +got):\n%s", diff)
	}
	if got := late(b, c, a.Stamp()); got != nil {
		t.Errorf("what was given away is given again: %.80q", got)
	}
	owe(own)
	if diff := cmp.Diff(want, late(b, c, b.Stamp())); diff != "" {
		t.Errorf("late at the own node (-want +got):\n%s", diff)
	}

	// Who is not in the registry is no node.
	owe(e)
	rdb := srv.Client(t)
	if err := rdb.HDel(t.Context(), b.keys.registry(), b.Stamp()).Err(); err != nil {
		t.Fatal(err)
	}
	loopOf(t, a, func() { clear(a.feed.ctl.askers) })
	channel := a.keys.ctl(c.conn.Shard(), a.Stamp())
	if err := rdb.SPublish(t.Context(), channel, "late 5 n8.8 "+c.conn.String()).Err(); err != nil {
		t.Fatal(err)
	}
	untilLoop(t, a, "the asker was looked for", func() bool { return a.feed.ctl.looking == 0 })
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.late[c.conn]) == 0 {
		t.Error("acknowledgements were given to somebody who is no node")
	}
}

func TestAnswerThatLacksAPartIsNone(t *testing.T) {
	srv := redistest.Shared(t)
	prefix := redistest.Prefix(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	c := connect(t, a)
	var answered atomic.Int32
	ask := func() (n uint64) {
		loopOf(t, b, func() {
			b.feed.ask(question{word: "nothing", to: a.Stamp(), conn: c.conn, wait: waitFor, then: func(text []byte, ok bool) {
				if ok || text != nil {
					t.Errorf("answered %q, %v", text, ok)
				}
				answered.Add(1)
			}})
			n = b.feed.ctl.lastQuestion
		})
		return n
	}
	part := func(n uint64, left int) {
		loopOf(t, b, func() {
			b.feed.ctl.shards[c.conn.Shard()].message(fmt.Sprintf("answer %d %d x", n, left))
		})
	}
	n := ask()
	part(n, 2)
	part(n, 0)
	if answered.Load() != 1 {
		t.Error("an answer without its second part is taken for one")
	}
	n = ask()
	part(n, 2)
	loopOf(t, b, func() { b.feed.ups[0].abandon(errDeaf) })
	if answered.Load() != 2 {
		t.Error("a question is not given up with the link that had a part of its answer")
	}
}

// heldEdge holds the answer to a second question for its connections.
type heldEdge struct {
	*nodeEdge
	held chan func()
}

func (e *heldEdge) Connections(answer func([]presence.Held)) {
	e.mu.Lock()
	second := len(e.taken) > 0
	e.mu.Unlock()
	if second {
		e.held <- func() { answer(nil) }
		return
	}
	e.nodeEdge.Connections(answer)
}

func TestTakenThatWasLostIsFoundBeforeAProbeCounts(t *testing.T) {
	srv := redistest.Start(t)
	prefix := redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	e := &heldEdge{nodeEdge: attachNode(s), held: make(chan func(), 10)}
	s.Attach(e)
	stays, moved, own, gone := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
	for _, c := range []client{stays, moved, own, gone} {
		e.hold(c)
	}
	// What scripts would have done whose notices were lost.
	set := func(c client, inc int64, node string) {
		if err := rdb.HSet(t.Context(), s.keys.session(c.conn), "inc", inc, "node", node).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set(moved, moved.inc+7, "n2.1")
	set(own, own.inc+7, s.Stamp())
	if err := rdb.Del(t.Context(), s.keys.session(gone.conn)).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := redistest.KillPubSub(t.Context(), rdb); err != nil {
		t.Fatal(err)
	}
	var release func()
	select {
	case release = <-e.held:
	case <-time.After(waitFor):
		t.Fatal("the edge is not asked whether it has forgotten")
	}
	back := s.feed.ups[0].probeBack.Load()
	if h := <-e.taken; h != (presence.Held{Conn: moved.conn, Inc: moved.inc + 7}) || len(e.taken) > 0 {
		t.Errorf("the edge was told of %+v and %d more, want %+v", h, len(e.taken), moved)
	}
	for range 3 {
		s.feed.probe(s.lease.probes.Add(1))
	}
	loopOf(t, s, func() {
		if s.feed.ups[0].heard.sure || s.feed.ups[0].heard.flying != 0 || len(s.feed.ups[0].heard.probes) != 0 || s.feed.ups[0].probeBack.Load() != back {
			t.Error("a probe is sent before the edge has forgotten what moved")
		}
	})
	release()
	untilLoop(t, s, "all is heard", func() bool { return s.feed.ups[0].heard.sure })
	s.feed.probe(s.lease.probes.Add(1))
	untilLoop(t, s, "a probe is back", func() bool { return s.feed.ups[0].probeBack.Load() > back })
	for len(e.held) > 0 {
		(<-e.held)()
	}
}

// A channel that Redis ended while the others go on is as deaf.
func TestOneShardThatIsEndedStopsTheProbes(t *testing.T) {
	srv := redistest.Shared(t)
	s := openStore(t, srv, redistest.Prefix(t), "n1")
	e := attachNode(s)
	e.hold(connect(t, s))
	loopOf(t, s, func() {
		c, u := &s.feed.ctl, s.feed.ups[0]
		u.heard.probes = append(u.heard.probes, probe{n: 1 << 40, sent: time.Now()})
		u.answered(&redis.Subscription{Kind: "sunsubscribe", Channel: c.shards[7].sub.name})
		before := s.feed.ups[0].probeBack.Load()
		c.shards[0].message(fmt.Sprintf("probe %d", int64(1)<<40))
		if u.heard.sure || s.feed.ups[0].probeBack.Load() != before {
			t.Error("a probe counts although a shard is deaf")
		}
	})
	untilLoop(t, s, "all is heard again", func() bool { return s.feed.ups[0].heard.sure })
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked == 0 {
		t.Error("its connections were not looked at")
	}
}
