package redisstore

import (
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// TestADrainsLossIsNotInTheFuture: its grace is longer than the session's own,
// which the time of the loss is counted from.
func TestADrainsLossIsNotInTheFuture(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.DrainGrace = time.Hour })
	c := connect(t, s)
	d := c.detachment()
	d.Grace = time.Hour
	before := redisMs(t, s)
	s.Detach(d)
	awaitDepartures(t, s)
	after := redisMs(t, s)
	if was := c.resumed(t, s); was.Lost < before || was.Lost > after {
		t.Errorf("lost at %d; want %d to %d", was.Lost, before, after)
	}
}

// TestWhatADeadNodeHandedIsNotKnown: the revisions that its sessions list are
// of an earlier loss.
func TestWhatADeadNodeHandedIsNotKnown(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	for _, why := range []string{"node_lost", "timeout"} { // dead, or retired before it was done
		c := connect(t, s)
		c.enter(t, s, "lobby")
		now := redisMs(t, s)
		err := rdb.HSet(t.Context(), s.keys.session(c.conn), roomField(app, "lobby"), "p 7 {}",
			"state", "grace", "why", why, "due", now+9000).Err()
		if err != nil {
			t.Fatal(err)
		}
		was := c.resumed(t, s)
		if len(was.Rooms) != 1 || was.Rooms[0].Handed != 0 || !was.Rooms[0].Member || was.Lost != now-1000 {
			t.Errorf("restored of %s: got %+v; want a member, and nothing known of what it was handed", why, was)
		}
	}
}

// TestResumesAreBounded has Redis hang under as many as may wait.
func TestResumesAreBounded(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	srv.Pause(t)
	var waits []outcomes
	for range laneLimit {
		waits = append(waits, submit(t, s, client{conn: presence.NewConnID()}.resume()))
	}
	op := client{conn: presence.NewConnID()}.resume()
	if err := s.Submit(&op); err == nil || err.Code != presence.CodeUnavailable {
		t.Errorf("one more than the limit: got %v, want it refused", err)
	}
	srv.Resume(t)
	for _, o := range waits {
		for op := o.next(t); op.Unknown; op = o.next(t) {
		}
	}
	awaitDepartures(t, s)
	laneOf(s).mu.Lock()
	waiting := laneOf(s).waiting
	laneOf(s).mu.Unlock()
	if waiting != 0 {
		t.Errorf("%d operations count as waiting, and none is", waiting)
	}
	awaitThat(t, "no turn is held or waited for", func() bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return len(s.turns.held)+len(s.turns.waiting) == 0
	})
}

// TestAResumeWaitsForWhatThisNodeEnds has an end under way that nothing moves.
func TestAResumeWaitsForWhatThisNodeEnds(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	s.Detach(c.detachment())
	awaitDepartures(t, s)
	for _, ends := range []bool{true, false} {
		d := &departure{all: s.departures, conn: c.conn, id: c.inc}
		s.departures.mu.Lock()
		s.departures.live[c.conn] = []*departure{d}
		s.departures.mu.Unlock()
		o := submit(t, s, c.resume())
		awaitThat(t, "the resume waits", func() bool {
			s.turns.mu.Lock()
			defer s.turns.mu.Unlock()
			return len(s.turns.waiting[c.conn]) == 1
		})
		if ends {
			s.departures.forget(d)
			if op := o.next(t); op.Err != nil || op.Restored.State != "grace" {
				t.Errorf("behind the end: got %v, %+v", op.Err, op.Restored)
			}
			continue
		}
		if op := o.next(t); op.Err == nil || op.Err.Code != presence.CodeUnavailable || op.Unknown || op.Err.RetryAfterMs == 0 {
			t.Errorf("an end that takes too long: got %v, unknown %v; want it refused, and when to come again", op.Err, op.Unknown)
		}
		s.departures.forget(d)
	}
	if n := s.graces.count(redisMs(t, s)); n != 0 {
		t.Errorf("%d connections are known to be in their grace, and it came back", n)
	}
}

// TestAResumeIsUndoneThoughItsLastSocketHadMore: what departed is the
// incarnation before it.
func TestAResumeIsUndoneThoughItsLastSocketHadMore(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	d := c.detachment()
	d.Unanswered = true
	s.Detach(d)
	awaitDepartures(t, s)
	before := c.inc
	c.resumed(t, s)
	o := make(outcomes, 2)
	op := c.resume()
	op.Done = o
	r := &resume{store: s, op: &op, lane: s.lane(&op)}
	r.take.seen = before
	if err := s.lane(&op).enter(); err != nil {
		t.Fatal(err)
	}
	r.unknown(redisMs(t, s) + 50)
	if op := o.next(t); !op.Unknown {
		t.Errorf("told %v first, want that it is not known", op.Err)
	}
	if op := o.next(t); op.Unknown || op.Err == nil {
		t.Errorf("settled as %v, unknown %v; want an error", op.Err, op.Unknown)
	}
	awaitDepartures(t, s)
	c.wantState(t, rdb, s.keys, "grace")
}
