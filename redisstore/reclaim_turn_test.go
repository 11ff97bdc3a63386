package redisstore

import (
	"strings"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// TestAReclaimWaitsForAResumeThatIsUndone: the one would be taken for the
// other.
func TestAReclaimWaitsForAResumeThatIsUndone(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	d := &departure{all: s.departures, conn: c.conn} // nothing moves it
	s.departures.mu.Lock()
	s.departures.live[c.conn] = []*departure{d}
	s.departures.mu.Unlock()
	o := submit(t, s, c.reclaim())
	awaitThat(t, "the reclaim waits", func() bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return len(s.turns.waiting[c.conn]) == 1
	})
	s.departures.forget(d)
	op := o.next(t)
	if op.Unknown {
		op = o.next(t)
	}
	if op.Err != nil || op.NewInc != c.inc {
		t.Errorf("got %v, incarnation %d; want %d", op.Err, op.NewInc, c.inc)
	}
}

// TestANodeIsNotToldOfWhatItTakesBack: it would forget the socket for which it
// does so.
func TestANodeIsNotToldOfWhatItTakesBack(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")
	old := s.keys.ctl(c.conn.Shard(), s.Stamp())
	lostStamp(t, s)
	sub := rdb.SSubscribe(t.Context(), old, s.keys.ctl(c.conn.Shard(), "-"))
	defer func() { _ = sub.Close() }() // it only ever listened
	for range 2 {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inc := c.inc
	if c.reclaimed(t, s, hold("lobby")); c.inc <= inc {
		t.Fatalf("reclaimed with incarnation %d, want a new one", c.inc)
	}
	if err := rdb.SPublish(t.Context(), old, "last").Err(); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if msg.Payload == "last" {
			break
		}
		if msg.Channel == old && strings.HasPrefix(msg.Payload, "taken ") {
			t.Errorf("the node is told %q", msg.Payload)
		}
	}
}

// TestAnIncarnationGrowsThoughTheClockWentBack: Redis was lost, and the new
// one's clock is behind.
func TestAnIncarnationGrowsThoughTheClockWentBack(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := client{conn: presence.NewConnID(), inc: redisMs(t, s) + 60_000}
	s.doubts.last.Store(c.inc)
	s.doubts.at.Store(s.clock())
	s.sessions.Add(1)
	if op := must(t, s, c.reclaim()); op.NewInc != c.inc+1 {
		t.Errorf("got incarnation %d, want %d", op.NewInc, c.inc+1)
	}
}
