package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
	"presencesets/protocol"
)

// A panic is a bug of ours. It must cost the connection in whose work it was,
// and nothing else.

// faulty is a store that breaks where a test says so.
type faulty struct {
	*memStore
	release bool
}

func (s *faulty) Release(d presence.Detachment) {
	if s.release {
		panic("a bug")
	}
	s.memStore.Release(d)
}

// brokenCounter is a counter that cannot count.
type brokenCounter struct{}

func (brokenCounter) Inc() { panic("a bug") }

func TestPanicInAHandshakeIsAnswered(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	store.refuse = func(*presence.Op) *presence.Error { panic("a bug") }
	_, peer := s.knock("1")
	s.turn()
	if got := s.drain(peer); !strings.HasPrefix(got, "HTTP/1.1 500") {
		t.Errorf("got %q, want a 500", got)
	}
}

func TestPanicInASweepCostsItsConnectionOnly(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	first, peer := s.open("1")
	second, _ := s.open("2")
	broken := first.id
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpReclaim && op.Conn == broken {
			panic("a bug")
		}
		return nil
	}
	s.startReclaim(1)
	s.stepReclaim()
	s.turn()
	if got := s.drain(peer); !strings.Contains(got, "internal error") {
		t.Errorf("got %q, want a close frame", got)
	}
	if second.state != stateOpen || s.unsure(second) {
		t.Error("the connection behind it was not reclaimed")
	}
}

func TestPanicInATakeoverCostsItsConnectionOnly(t *testing.T) {
	store := &faulty{memStore: newMemStore(), release: true}
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.node.Taken(c.id, c.inc+1)
	s.turn()
	if got := s.drain(peer); !strings.Contains(got, "internal error") {
		t.Errorf("got %q, want a close frame", got)
	}
}

func TestPanicOfAQuestionIsAnsweredAllTheSame(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	answered := make(chan struct{})
	s.node.eachLoop(func(*loop) { panic("a bug") }, func() { close(answered) })
	s.turn()
	<-answered
}

func TestPanicInARefusalOfWhatWaitedCostsItsConnectionOnly(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	_, other := s.open("2")
	store.hold = func(*presence.Op) bool { return true }
	for _, fd := range []int{peer, other} {
		s.ask(fd, "publish", `"roomId":"r","event":"e","data":1`)
		s.ask(fd, "room:presence:count", `"roomId":"r"`) // waits
	}
	s.m.results[resultKey{protocol.TypePresenceCount, presence.CodeUnavailable}] = brokenCounter{}
	s.now = s.now.Add(waitMs * time.Millisecond)
	s.expireWaits()
	for _, fd := range []int{peer, other} {
		if got := s.drain(fd); !strings.Contains(got, "internal error") {
			t.Errorf("got %q, want a close frame", got)
		}
	}
	store.release()
	s.turn()
}

func TestPanicInAStopLeavesNobodyBehind(t *testing.T) {
	store := newMemStore()
	n, err := New(testOptions(t, store))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range n.loops {
		l.m.ends[endDrain] = brokenCounter{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	p, q := connect(t, n, "1"), connect(t, n, "2")
	cancel()
	for _, p := range []*peer{p, q} {
		if code := p.closed(); code != ws.StatusInternalServerError {
			t.Errorf("closed with %d, want 1011", code)
		}
		p.conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
