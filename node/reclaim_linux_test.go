package node

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
)

func isReclaim(op *presence.Op) bool { return op.Kind == presence.OpReclaim }

func TestSocketsAreReadWhileEveryReclaimWaitsForTheStore(t *testing.T) {
	store := newMemStore()
	store.hold = isReclaim
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	s.startReclaim(1)
	s.stepReclaim()
	s.reclaims.flying = reclaimsMost // with those of others
	s.sweepAgain(s.now)
	s.stepReclaim()
	s.put(peer, masked(ws.OpPing, "?"))
	if s.collect(); s.poll.n == 0 {
		t.Error("the loop did not look at its sockets: it waits for a moment that has passed")
	}
}

func TestSocketsAreReadInTheMiddleOfASweep(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	_, peer := s.open("1")
	s.sweepAgain(s.now)
	s.put(peer, masked(ws.OpPing, "?"))
	if s.collect(); s.poll.n == 0 {
		t.Error("the loop did not look at its sockets")
	}
}

func TestConnectionThatOpensBehindASweepIsReclaimed(t *testing.T) {
	store := newMemStore()
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpOpen }
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.knock("1")
	s.turn()
	s.startReclaim(1)
	s.stepReclaim()
	if s.reclaims.on {
		t.Fatal("the sweep is on although nobody is open")
	}
	store.release()
	s.turn()
	s.stepReclaim()
	s.turn()
	if got := s.ask(peer, "room:join", `"roomId":"r"`); !strings.Contains(got, `"ackId":"x"`) {
		t.Errorf("got %q, want the acknowledgement: the connection is never sure of itself", got)
	}
}

// TestReclaimSaysSinceWhenItsMembersAre: a membership that the store lost is made
// again as the same one.
func TestReclaimSaysSinceWhenItsMembersAre(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	epoch := int64(0)
	want := func(what string, member bool, at int64) {
		t.Helper()
		epoch++
		store.asked = nil
		s.startReclaim(epoch)
		s.stepReclaim()
		s.turn()
		if len(store.asked) != 1 || store.asked[0].Member != member || store.asked[0].At != at {
			t.Errorf("%s: the store is asked to hold %+v, want a member: %v, since %d", what, store.asked, member, at)
		}
	}
	member := func() *presence.Member { return store.rooms["acme:r"].members[c.id] }

	s.ask(peer, "room:presence:join", `"roomId":"r"`)
	joined := member().At
	if joined == 0 {
		t.Fatal("the store has no time")
	}
	want("joined", true, joined)
	s.ask(peer, "room:presence:join", `"roomId":"r","userData":1`)
	s.ask(peer, "room:presence:update", `"roomId":"r","userData":2`)
	want("joined again and updated", true, joined)

	found := *member()
	found.At = joined + 7
	store.rooms["acme:r"].members[c.id] = &found
	want("before the store found another", true, joined)
	want("after it did", true, joined+7)

	s.ask(peer, "room:presence:leave", `"roomId":"r"`)
	want("left", false, 0)
	s.ask(peer, "room:presence:join", `"roomId":"r"`)
	if member().At == joined {
		t.Fatal("the store has no other time")
	}
	want("joined anew", true, member().At)
}

func TestResumedMembershipKeepsItsTime(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, _ := s.open("1")
	was := wasIn("grace", "p 0 {}", 0)
	was.Rooms[0].At = 17
	s.restore(c, &presence.Op{Restored: was})
	s.startReclaim(1)
	s.stepReclaim()
	if len(store.asked) != 1 || store.asked[0].At != 17 {
		t.Errorf("the store is asked to hold %+v, want a member since 17", store.asked)
	}
	s.turn()
}

func TestTakenSocketIsNotClosedForWhatWasNotRead(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.Limits.InFlight = 1
	s := stillLoop(t, opts)
	c, peer := s.open("1")
	c.flags &^= flagFresh // whose ping may come at once, and whoever answers none is closed for that
	s.ask(peer, "room:join", `"roomId":"r"`)
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpCount }
	for range 2 { // the second is kept, since one is under way
		s.put(peer, masked(ws.OpText, `{"type":"ds:client:room:presence:count","body":{"roomId":"r"},"ackId":"y"}`))
	}
	s.turn()
	if c.flags&flagPaused == 0 || c.in == nil {
		t.Fatal("nothing was kept")
	}
	s.taken(c, c.inc+1)
	s.turn()
	if got := s.drain(peer); strings.Count(got, `"code":"fenced"`) != 1 {
		t.Errorf("got %q, want the refusal of what was kept", got)
	}
	for range halfFrameSeconds + 1 {
		s.second++
		s.turn()
		s.timers()
	}
	if c.state != stateOpen {
		t.Error("the socket was closed: its client takes that for the new one's end")
	}
	store.release()
	s.turn()
}

func TestRequestThatWaitedForAReclaimInVainLeavesNothing(t *testing.T) {
	store := newMemStore()
	store.hold = isReclaim
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.startReclaim(1)
	s.stepReclaim()
	s.ask(peer, "room:presence:count", `"roomId":"r"`)
	s.now = s.now.Add(waitMs * time.Millisecond)
	s.expireWaits()
	if c.entries != nil || c.inflight != 0 || len(s.node.rooms) != 0 {
		t.Errorf("left are an entry %v, %d requests under way, %d rooms", c.entries, c.inflight, len(s.node.rooms))
	}
	store.release()
	s.turn()
}

func TestLateListThatIsTooLongIsRefused(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.Limits.Reply = 10
	s := stillLoop(t, opts)
	c, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	s.ask(peer, "room:presence:join", `"roomId":"r"`)
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpMembers }
	s.ask(peer, "room:presence:get", `"roomId":"r"`)
	id := c.id
	s.lose(c, endLost)
	store.release()
	s.turn()
	s.node.late.take(id, func(payloads [][]byte) {
		if len(payloads) != 1 || !strings.Contains(string(payloads[0]), `"code":"too_large"`) {
			t.Errorf("owed are %q, want one refusal", payloads)
		}
	})
}

func TestLateDoubtDoesNotWriteWhatTheStoreReads(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	held := s.joinHeld(store, peer)
	s.lose(c, endLost)
	held.Err, held.Unknown = presence.Errorf(presence.CodeUnavailable, "no answer"), true
	held.Done.OpDone(held)
	done := make(chan string)
	go func() { done <- held.App }() // the store settles it
	s.turn()
	<-done
	held.Err, held.Unknown = nil, false
	held.Done.OpDone(held)
	s.turn()
}

func TestLateBoxThatNobodyAskedForGoes(t *testing.T) {
	var b lateBoxes
	old := b.open(presence.NewConnID(), 0)
	b.owe(old)
	b.settle(old)
	b.put(old, []byte("x"))
	old.until, b.swept = time.Now().Add(-time.Second), time.Time{}
	b.settle(b.open(presence.NewConnID(), 0)) // another socket is lost, to which nothing is owed
	if len(b.boxes) != 0 {
		t.Errorf("%d boxes are kept", len(b.boxes))
	}
}

func TestConnectionThatOpensDuringADrainIsSentAway(t *testing.T) {
	store := newMemStore()
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpOpen }
	s := stillLoop(t, testOptions(t, store))
	_, other := s.knock("1")
	store.release()
	s.turn()
	s.turn()
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpOpen }
	_, peer := s.knock("2")
	s.turn()
	s.startDrain()
	s.stepDrain()
	store.release()
	s.turn()
	s.stepDrain()
	for _, fd := range []int{other, peer} {
		if got := s.drain(fd); !strings.Contains(got, goingAway) {
			t.Errorf("got %q, want the close frame", got)
		}
	}
	if !s.loop.drain.next.IsZero() {
		t.Error("the drain goes on although nobody is left")
	}
}

func TestLateAcknowledgementsOfASocketThatDiedAreKeptForTheNext(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, _ := s.open("1")
	id := c.id
	box := s.node.late.open(id, time.Minute)
	s.node.late.owe(box)
	s.node.late.settle(box)
	s.restore(c, &presence.Op{Restored: &presence.Restored{State: "grace", From: "n2.1"}})
	s.turn()
	waitFor(t, func() bool { s.node.late.mu.Lock(); defer s.node.late.mu.Unlock(); return box.ask != nil })
	s.lose(c, endLost)
	s.node.late.put(box, []byte("late"))
	s.turn()
	var got [][]byte
	s.node.late.take(id, func(p [][]byte) { got = p })
	if len(got) != 1 || string(got[0]) != "late" {
		t.Errorf("kept are %q", got)
	}
}

func TestRequestThatCrossesACloseFrameIsRefusedOnTheNextSocket(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Limits.InFlight = 2
	s := stillLoop(t, opts)
	c, peer := s.open("1")
	id := c.id
	for range 3 { // more than can be under way
		s.put(peer, masked(ws.OpText, `{"type":"ds:client:room:presence:count","body":{"roomId":"r"},"ackId":"y"}`))
	}
	s.closeWith(c, ws.StatusGoingAway, goingAway, endDrain)
	s.turn()
	var got [][]byte
	s.node.late.take(id, func(p [][]byte) { got = p })
	if len(got) != 2 || !strings.Contains(string(got[0]), `"ackId":"y"`) || !strings.Contains(string(got[0]), "UnavailableError") {
		t.Errorf("owed are %q, want two refusals", got)
	}
	if n := s.operations()["presence_count unavailable"]; n != 3 {
		t.Errorf("%d were counted, want 3", n)
	}
	if said := s.drain(peer); strings.Contains(said, "ackId") {
		t.Errorf("got %q behind the close frame", said)
	}
}

// A connection that is lost twice before anybody asks is owed what was under way
// on both sockets.
func TestTwoLostSocketsAreOwedBoth(t *testing.T) {
	var boxes lateBoxes
	conn := presence.NewConnID()
	first := boxes.open(conn, time.Minute)
	boxes.owe(first)
	boxes.settle(first)
	second := boxes.open(conn, time.Minute)
	boxes.owe(second)
	boxes.put(second, []byte("second"))
	boxes.settle(second)
	var got [][]byte
	boxes.take(conn, func(payloads [][]byte) { got = payloads })
	if got != nil {
		t.Fatalf("given %q before the first one was answered", got)
	}
	boxes.put(first, []byte("first"))
	if len(got) != 2 {
		t.Errorf("given %q, want both", got)
	}
}
