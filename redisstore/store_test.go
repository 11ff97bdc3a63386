package redisstore

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestAConnectionJoinsUpdatesReadsAndLeaves(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "lobby"))
	joined := must(t, s, c.op(presence.OpJoin, "lobby"))
	if again := must(t, s, c.op(presence.OpJoin, "lobby")); again.At != joined.At || again.Revision != joined.Revision+1 {
		t.Errorf("joined at revision %d since %d, and behind %d since %d", again.Revision, again.At, joined.Revision, joined.At)
	}

	update := c.op(presence.OpUpdate, "lobby")
	update.Data = []byte(`{"n":2}`)
	rev := must(t, s, update).Revision

	read := must(t, s, c.op(presence.OpMembers, "lobby"))
	if read.Snapshot.Revision != rev || len(read.Snapshot.Members) != 1 {
		t.Fatalf("members: got %+v, want one at revision %d", read.Snapshot, rev)
	}
	m := read.Snapshot.Members[0]
	if m.Conn != c.conn || m.Inc != c.inc || m.Node != s.Stamp() || m.At != joined.At || string(m.Data) != `{"n":2}` || string(m.Client) != `"123"` {
		t.Errorf("member: got %+v", m)
	}
	if n := must(t, s, c.op(presence.OpCount, "lobby")); n.Count != 1 || n.Revision != rev {
		t.Errorf("count: got %d at %d, want 1 at %d", n.Count, n.Revision, rev)
	}
	if left := must(t, s, c.op(presence.OpLeave, "lobby")); left.Revision != rev+1 {
		t.Errorf("leave: got revision %d, want %d", left.Revision, rev+1)
	}
	if again := must(t, s, c.op(presence.OpLeave, "lobby")); again.Revision != 0 {
		t.Errorf("second leave: got revision %d, want 0", again.Revision)
	}
	must(t, s, c.op(presence.OpUntrack, "lobby"))
	if n := must(t, s, c.op(presence.OpCount, "lobby")); n.Count != 0 || n.Revision != 0 {
		t.Errorf("count of the empty room: got %d at %d, want 0 at 0", n.Count, n.Revision)
	}
	if read := must(t, s, c.op(presence.OpMembers, "lobby")); read.Snapshot.Revision != 0 || len(read.Snapshot.Members) != 0 {
		t.Errorf("members of the empty room: got %+v", read.Snapshot)
	}
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, srv.Client(t), prefix)
}

func TestDataIsStoredAsItWasSent(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	must(t, s, c.op(presence.OpTrack, "lobby"))
	for _, data := range []string{
		"", "null", "0", `""`, "[]", "{}", "12345678901234567890.1234567890e-7",
		`{"b":1,"a":{"deep":[[[]]]}}`, "\"\\u0000 ümläut 🙂 \\\" } , \\\"data\\\":\"",
	} {
		for _, kind := range []presence.OpKind{presence.OpJoin, presence.OpUpdate} {
			op := c.op(kind, "lobby")
			op.ClientJSON = []byte(`"a\"}b"`)
			op.Data = nil
			if data != "" {
				op.Data = []byte(data)
			}
			must(t, s, op)
			m := must(t, s, c.op(presence.OpMembers, "lobby")).Snapshot.Members
			if len(m) != 1 || string(m[0].Data) != data || (m[0].Data == nil) != (data == "") || string(m[0].Client) != `"a\"}b"` {
				t.Errorf("%s with %s: got %+v", kind, data, m)
			}
		}
	}
	s.Depart(c.departure(presence.ReasonClosed))
}

func TestRefusals(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c, other := connect(t, s), connect(t, s)
	c.enter(t, s, "full")

	t.Run("a full room is a limit", func(t *testing.T) {
		must(t, s, other.op(presence.OpTrack, "full"))
		op := other.op(presence.OpJoin, "full")
		op.MaxMembers = 1
		if err := fails(t, s, op, presence.CodeLimit).Err; err.Limit != 1 || !strings.Contains(err.Message, "room") {
			t.Errorf("got %+v", err)
		}
	})
	t.Run("too many rooms are a limit", func(t *testing.T) {
		op := other.op(presence.OpTrack, "one more")
		op.MaxRooms = 1
		if err := fails(t, s, op, presence.CodeLimit).Err; err.Limit != 1 || !strings.Contains(err.Message, "rooms") {
			t.Errorf("got %+v", err)
		}
	})
	t.Run("an update needs a member", func(t *testing.T) {
		fails(t, s, other.op(presence.OpUpdate, "full"), presence.CodeNotMember)
	})
	t.Run("a connection id is opened once", func(t *testing.T) {
		if err := fails(t, s, c.op(presence.OpOpen, ""), presence.CodeUnavailable).Err; err.RetryAfterMs == 0 {
			t.Errorf("got %+v, want a time to retry after", err)
		}
	})
	t.Run("a key of another type is named and fails alone", func(t *testing.T) {
		if err := rdb.Set(t.Context(), s.keys.members(app, "broken"), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []presence.OpKind{
			presence.OpJoin, presence.OpUpdate, presence.OpLeave,
			presence.OpCount, presence.OpMembers,
		} {
			if err := fails(t, s, c.op(kind, "broken"), presence.CodeInternal).Err; !strings.Contains(err.Message, "members") {
				t.Errorf("%s: got %+v", kind, err)
			}
		}
		var waits []outcomes
		for _, room := range []string{"a", "broken", "b"} {
			waits = append(waits, submit(t, s, c.op(presence.OpJoin, room)))
		}
		for i, bad := range []bool{false, true, false} {
			if op := waits[i].next(t); (op.Err != nil) != bad {
				t.Errorf("join %d: got %v", i, op.Err)
			}
		}
	})
	t.Run("an older incarnation is fenced", func(t *testing.T) {
		newer := c
		newer.inc++
		must(t, s, newer.op(presence.OpJoin, "full"))
		for _, kind := range []presence.OpKind{presence.OpJoin, presence.OpUpdate, presence.OpLeave} {
			fails(t, s, c.op(kind, "full"), presence.CodeFenced)
		}
		stranger := client{conn: presence.NewConnID(), inc: c.inc}
		fails(t, s, stranger.op(presence.OpTrack, "full"), presence.CodeFenced)
	})
	t.Run("a connection of a lost stamp is fenced", func(t *testing.T) {
		old := c
		old.inc = s.lease.grant.Load().since - 1
		fails(t, s, old.op(presence.OpJoin, "full"), presence.CodeFenced)
	})
	s.Depart(c.departure(presence.ReasonClosed))
	s.Depart(other.departure(presence.ReasonClosed))
}

func TestRedisRefusesAWriteThatIsTooLate(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.LeaseBeat = waitFor })
	c := connect(t, s)
	good := s.lease.grant.Load()
	behind := *good // a node that thinks that it is earlier than it is
	behind.now -= 10_000
	behind.since -= 10_000
	behind.sent, behind.got = s.clock(), s.clock()
	s.lease.grant.Store(&behind)
	fails(t, s, c.op(presence.OpTrack, "lobby"), presence.CodeFenced)
	fails(t, s, c.op(presence.OpJoin, "lobby"), presence.CodeFenced)
	s.lease.grant.Store(good)
	s.Depart(c.departure(presence.ReasonClosed))
}

func TestOutOfMemoryRefusesJoinsButNotLeaves(t *testing.T) {
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []presence.OpKind{presence.OpJoin, presence.OpTrack} {
		if err := fails(t, s, c.op(kind, "more"), presence.CodeUnavailable).Err; !strings.Contains(err.Message, "memory") {
			t.Errorf("%s: got %+v", kind, err)
		}
	}
	s.Depart(c.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestAMessageIsPublishedOnTheRoomsChannel(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	sub := srv.Client(t).SSubscribe(t.Context(), s.keys.messages(app, "lobby"))
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	op := c.op(presence.OpPublish, "lobby")
	op.Data = []byte(`{"event":"x"}`)
	must(t, s, op)
	msg, err := sub.ReceiveMessage(t.Context())
	if err != nil || msg.Payload != `{"event":"x"}` {
		t.Errorf("got %v, %v", msg, err)
	}
	s.Depart(c.departure(presence.ReasonClosed))
}

func TestReadersOfARoomShareReadsButNotSlices(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	var waits []outcomes
	for range 100 {
		waits = append(waits, submit(t, s, c.op(presence.OpMembers, "lobby")))
	}
	for _, w := range waits {
		op := w.next(t)
		if op.Err != nil || len(op.Snapshot.Members) != 1 {
			t.Fatalf("got %+v, %v", op.Snapshot, op.Err)
		}
		op.Snapshot.Members[0].Node = "mine" // no other reader's, says the race detector
	}
	laneOf(s).mu.Lock()
	n := len(laneOf(s).reads)
	laneOf(s).mu.Unlock()
	if n != 0 {
		t.Errorf("%d reads are still noted", n)
	}
	s.Depart(c.departure(presence.ReasonClosed))
}

// once counts how often each operation is done.
type once struct {
	done  sync.WaitGroup
	wrong atomic.Int64
}

func (o *once) OpDone(op *presence.Op) {
	if op.Err != nil || op.Unknown {
		o.wrong.Add(1)
	}
	o.done.Done() // panics when it is called once too often
}

func TestTenThousandOperationsAreEachAnsweredOnce(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	churn(t, s, 8, 1250, nil)
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

// churn runs n operations from each of several goroutines: opened
// connections that join, update and leave. between is called now and then.
func churn(t *testing.T, s *Store, goroutines, n int, between func()) {
	t.Helper()
	var all sync.WaitGroup
	var o once
	for g := range goroutines {
		all.Go(func() {
			c := connect(t, s)
			room := fmt.Sprintf("room%d", g%3)
			must(t, s, c.op(presence.OpTrack, room))
			last := make(chan struct{}, 1)
			last <- struct{}{}
			kinds := []presence.OpKind{presence.OpJoin, presence.OpUpdate, presence.OpCount, presence.OpMembers, presence.OpLeave}
			for i := range n {
				if between != nil && g == 0 && i%100 == 50 {
					between()
				}
				<-last // one in flight in a room, as a node has it
				op := c.op(kinds[i%len(kinds)], room)
				o.done.Add(1)
				op.Done = both{&o, last}
				if err := s.Submit(&op); err != nil {
					t.Errorf("submit: %v", err)
					return
				}
			}
			<-last
			s.Depart(c.departure(presence.ReasonClosed))
		})
	}
	all.Wait()
	o.done.Wait()
	if n := o.wrong.Load(); n > 0 {
		t.Errorf("%d operations failed", n)
	}
}

type both struct {
	once *once
	last chan struct{}
}

func (b both) OpDone(op *presence.Op) {
	b.once.OpDone(op)
	b.last <- struct{}{}
}

func TestScriptsAreFlushedUnderLoad(t *testing.T) {
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	churn(t, s, 4, 1000, func() {
		if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Errorf("flush the scripts: %v", err)
		}
	})
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func TestAFullLaneRefusesAtOnce(t *testing.T) {
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	srv.Pause(t)
	var done sync.WaitGroup
	refused := 0
	for range laneLimit + laneWriters*batchOps + 1 {
		op := presence.Op{Kind: presence.OpCount, App: app, Room: "lobby", Done: whenDone{&done}}
		done.Add(1)
		if err := s.Submit(&op); err != nil {
			done.Done()
			if err.Code != presence.CodeUnavailable {
				t.Fatalf("got %v, want unavailable", err)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("a full lane took one operation more")
	}
	srv.Resume(t)
	done.Wait()
}

type whenDone struct{ wg *sync.WaitGroup }

func (w whenDone) OpDone(*presence.Op) { w.wg.Done() }
