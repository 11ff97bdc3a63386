package node

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
)

// still is a loop that no goroutine runs: a test turns it by hand.
type still struct {
	*loop
	t *testing.T
}

func stillLoop(t *testing.T, opts Options) *still {
	t.Helper()
	opts.Loops = 1
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l := n.loops[0]
	t.Cleanup(func() {
		for i := range uint32(len(l.conns.slabs)) * slabSize {
			if c := l.conns.at(i); c.state != stateFree && c.fd > 2 {
				_ = unix.Close(int(c.fd))
			}
		}
		l.poll.close()
		_ = unix.Close(n.listenFD)
		_ = n.adminLn.Close()
	})
	return &still{loop: l, t: t}
}

// joinHeld asks to join room r, and returns the operation that the store is left
// to answer.
func (s *still) joinHeld(store *memStore, peer int) (held *presence.Op) {
	s.t.Helper()
	store.hold = func(op *presence.Op) bool { held = op; return true }
	s.ask(peer, "room:presence:join", `"roomId":"r"`)
	return held
}

// turn is a turn of the loop that does not park, without its timers.
func (s *still) turn() {
	s.poll.once()
	for i := range s.poll.n {
		ev := &s.poll.events[i]
		if ev.Fd == wakeSlot {
			continue
		}
		if c := s.conns.get(connRef{uint32(ev.Fd), uint32(ev.Pad)}); c != nil {
			s.guarded(c, ev.Events)
		}
	}
	s.takeTasks()
	s.runAgain()
	s.startReady()
	s.flushReplies()
	s.stepJob()
}

// knock hands the loop one end of a pair of sockets, with an upgrade waiting
// in it that the loop has not read yet.
func (s *still) knock(client string) (near, peer int) {
	s.t.Helper()
	return s.knockWith("apiKey=" + testKey + "&clientId=" + client)
}

func (s *still) knockWith(query string) (near, peer int) {
	s.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = unix.Close(pair[1]) })
	s.put(pair[1], []byte(upgradeRequest(query)))
	s.socket(pair[0])
	return pair[0], pair[1]
}

// socketOf is the connection on the near end.
func (s *still) socketOf(near int) *conn {
	s.t.Helper()
	for i := range uint32(len(s.conns.slabs)) * slabSize {
		if c := s.conns.at(i); int(c.fd) == near && c.state != stateFree {
			return c
		}
	}
	s.t.Fatal("the loop does not have the socket")
	return nil
}

// open makes an open connection over a pair of sockets and returns its other end.
func (s *still) open(client string) (c *conn, peer int) {
	s.t.Helper()
	near, peer := s.knock(client)
	for range 4 {
		s.turn()
	}
	c = s.socketOf(near)
	if c.state != stateOpen {
		s.t.Fatal("the connection did not open")
	}
	s.drain(peer)
	return c, peer
}

func (s *still) put(fd int, b []byte) {
	s.t.Helper()
	if n, err := unix.Write(fd, b); n != len(b) || err != nil {
		s.t.Fatalf("wrote %d of %d: %v", n, len(b), err)
	}
}

func (s *still) ask(fd int, name, body string) string {
	s.put(fd, masked(ws.OpText, `{"type":"ds:client:`+name+`","body":{`+body+`},"ackId":"x"}`))
	for range 4 {
		s.turn()
	}
	return s.drain(fd)
}

// drain reads what there is.
func (s *still) drain(fd int) string {
	var all []byte
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			return string(all)
		}
		all = append(all, b[:n]...)
	}
}

func TestAnswerThatIsSettledBeforeTheLoopHasSeenTheDoubt(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	held := s.joinHeld(store, peer)
	// What redisstore does: unknown after 2 s, and a moment later, or at once when
	// the connection departs (settler.cancel), the settled answer.
	held.Err, held.Unknown = presence.Errorf(presence.CodeUnavailable, "no answer"), true
	held.Done.OpDone(held)
	held.Err, held.Unknown = nil, false
	held.Done.OpDone(held)
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic on the loop: %v", p)
		}
	}()
	s.turn()
	if got := s.drain(peer); strings.Count(got, `"ackId"`) != 1 || !strings.Contains(got, "UnavailableError") {
		t.Errorf("got %q, want one UnavailableError", got)
	}
}

func TestOwnEventIsJudgedWithoutReadingWhatTheStoreWrites(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "bob")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:subscribe", `"roomId":"r","event":"update"`)
	var held *presence.Op
	store.mu.Lock()
	store.hold = func(op *presence.Op) bool { held = op; return true }
	store.mu.Unlock()
	p.send(p.request("room:presence:join", `"roomId":"r"`))
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	store.mu.Lock()
	room, op := store.rooms["acme:r"].sink, held
	store.mu.Unlock()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { // lane.end writes them just before Done
		defer wg.Done()
		op.Err, op.Unknown = nil, false
	}()
	room.RoomEvent(update(2_000_000, "1"))
	p.read()
	wg.Wait()
	store.release()
	p.read()
}

func TestPublishRightBeforeTheCloseFrameIsSent(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	published := 0
	store.hold = func(op *presence.Op) bool {
		if op.Kind == presence.OpPublish {
			published++
		}
		return false
	}
	s.put(peer, append(masked(ws.OpText, `{"type":"ds:client:publish","body":{"roomId":"r","event":"e","data":1},"ackId":"x"}`),
		masked(ws.OpClose, "\x03\xe8")...))
	s.turn()
	if published != 1 {
		t.Errorf("%d messages were published, want the one that came before the close frame", published)
	}
}

func TestPeerThatTakesABigAnswerIsNotLostForAPongThatIsNotRead(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	c, peer := s.open("1")
	s.send(c, make([]byte, 4<<20), true)
	buf := make([]byte, 32<<10)
	for range 60 { // a minute of progress
		if _, err := unix.Read(peer, buf); err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		s.second++
		s.turn()
		s.timers()
		if c.state != stateOpen {
			t.Fatalf("closed in second %d, while it took its answer", s.second)
		}
	}
}

func TestWhatWaitedBehindABigAnswerIsNotOldWhenThatIsTaken(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.PingInterval = time.Hour
	s := stillLoop(t, opts)
	c, peer := s.open("1")
	c.flags &^= flagFresh
	if err := unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10); err != nil {
		t.Fatal(err)
	}
	s.send(c, make([]byte, 256<<10), true)
	for range 60 {
		s.send(c, make([]byte, 1<<10), true)
	}
	buf := make([]byte, 4<<10)
	for c.out != nil && c.out.big > 0 { // in steps of a second, so longer than the queue's age
		if _, err := unix.Read(peer, buf); err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		s.second++
		s.turn()
	}
	if c.out == nil {
		t.Fatal("all of it was taken at once: nothing waits behind the big answer")
	}
	if at := s.nextDeadline(c); at <= s.second {
		t.Errorf("in second %d, in which the big answer was taken, the queue is too old since second %d", s.second, at)
	}
}

func TestRestOfTheWheelsWorkIsNotLeftForTheNextSecond(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.HandshakeTimeout = 0
	s := stillLoop(t, opts)
	for range wheelWork + 10 {
		c := s.conns.take()
		c.fd = -1
		s.setState(c, stateHead)
		s.wheel.file(&s.conns, c, 0)
	}
	s.timers()
	if s.wheel.size != 10 {
		t.Fatalf("%d are left, want 10", s.wheel.size)
	}
	s.collect()
	if s.stats.Wakes != 0 {
		t.Error("the loop parked although deadlines have passed")
	}
}

func TestConnectionOfALaterRoundThatEndsDuringTheTurnIsNotFiledAgain(t *testing.T) {
	var (
		w wheel
		s table
	)
	a, b := s.take(), s.take()
	a.state, b.state = stateOpen, stateOpen
	w.file(&s, a, 5)
	w.file(&s, b, 5+wheelSlots) // looked at first
	w.turn(&s, 5, func(c *conn) {
		// closeWith flushes the turn's replies, and b's socket is found dead
		w.take(&s, b)
		s.put(b)
	})
	if w.size != 0 {
		t.Errorf("%d entries on the wheel, want none: a free slot was filed", w.size)
	}
}

func TestPongIsNotSentOnASocketThatTheRepliesFoundDead(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	c, peer := s.open("1")
	s.put(peer, append(masked(ws.OpText, `{"type":"ds:client:room:create","body":{"roomId":"r"},"ackId":"x"}`), masked(ws.OpPing, "p")...))
	sends := s.stats.Sends
	if err := unix.Shutdown(peer, unix.SHUT_RD); err != nil { // EPIPE for whoever writes
		t.Fatal(err)
	}
	s.readable(c)
	if got := s.stats.Sends - sends; got != 1 {
		t.Errorf("%d sends, the last on descriptor %d of a freed slot; want one", got, c.fd)
	}
}

func TestOpenWithoutAnAnswerIsRefusedWithinTheClientsPatience(t *testing.T) {
	store := newMemStore()
	store.hold = func(*presence.Op) bool { return true }
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.knock("")
	s.turn()
	s.now, s.second = s.now.Add(authoriseMs*time.Millisecond-1), s.second+2 // the beats of the seconds are not its own
	s.timers()
	if got := s.drain(peer); got != "" {
		t.Errorf("got %q before its time was over", got)
	}
	s.now = s.now.Add(1)
	s.timers()
	if got := s.drain(peer); !strings.HasPrefix(got, "HTTP/1.1 503") {
		t.Errorf("got %q, want a 503: the public client waits 2 s in all", got)
	}
}

func TestBufferOfALargeMessageIsNotKeptForOneByteOfTheNext(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	c, peer := s.open("1")
	b := append(masked(ws.OpText, strings.Repeat("x", 200<<10)), 0x81)
	for len(b) > 0 {
		n, err := unix.Write(peer, b)
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		b = b[max(n, 0):]
		s.turn()
	}
	s.turn()
	if c.in == nil || len(c.in.buf) != 1 {
		t.Fatalf("want one byte kept, have %+v", c.in)
	}
	if got := cap(c.in.buf); got > 4<<10 {
		t.Errorf("%d bytes are held for 1 byte, and %d are counted", got, s.partial)
	}
}

func TestOldestHalfFrameGoesWhenAllTogetherAreTooMany(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	old, oldPeer := s.open("1")
	young, youngPeer := s.open("2")
	half := masked(ws.OpText, strings.Repeat("x", 1000))[:500]
	s.put(oldPeer, half)
	s.turn()
	s.second += 5
	s.partial += maxPartial - 600 // as many others would
	s.put(youngPeer, half)
	s.turn()
	if old.state == stateOpen || young.state != stateOpen {
		t.Errorf("the oldest is in state %d and the newest in %d; want the oldest closed", old.state, young.state)
	}
}

func TestLateEventOfAnEarlierMembershipAcknowledgesNoJoin(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "bob")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:join", `"roomId":"r"`)
	p.ok("room:presence:update", `"roomId":"r"`) // its event is late: the feed has not seen it yet
	store.mu.Lock()
	rev, id := store.rooms["acme:r"].rev, presence.ConnID{}
	for id = range store.rooms["acme:r"].members {
	}
	store.mu.Unlock()
	p.ok("room:leave", `"roomId":"r"`)
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:subscribe", `"roomId":"r","event":"update"`)
	store.mu.Lock()
	store.hold = func(*presence.Op) bool { return true }
	sink := store.rooms["acme:r"].sink
	store.mu.Unlock()
	p.send(p.request("room:presence:join", `"roomId":"r"`))
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	late := update(int(rev), "1")
	late.Conn = id
	sink.RoomEvent(late)
	if got := p.read(); strings.Contains(got, `"ackId"`) {
		t.Errorf("the join was acknowledged by an update of the membership before: %s", got)
	}
	store.release()
	p.read()
}

func TestFencedConnectionIsForgottenInSilence(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "bob")
	p.ok("room:join", `"roomId":"r"`)
	store.mu.Lock()
	store.ended = true // another node has it
	store.mu.Unlock()
	p.fails("room:presence:join", `"roomId":"r"`, "UnavailableError")
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.released) == 1 })
	p.fails("room:create", `"roomId":"r"`, "UnavailableError") // answered, and not closed
	if store.gone() != 0 {
		t.Error("the connection was ended in the store, where another socket has it")
	}
}

func TestRefusalOfAFullNodeHasItsBody(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.MaxConnections = 1
	n := startNode(t, opts)
	connect(t, n, "1")
	res, body := response(t, n, "")
	if !strings.Contains(body, `"statusCode":503`) || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v %q, want name, message and statusCode in JSON", res.Header, body)
	}
}

func TestOpenedSocketThatCannotBeWatchedEndsAlone(t *testing.T) {
	store := newMemStore()
	store.hold = func(*presence.Op) bool { return true }
	s := stillLoop(t, testOptions(t, store))
	near, _ := s.knock("")
	s.turn()
	if err := s.poll.remove(near); err != nil { // as ENOMEM of epoll_ctl would
		t.Fatal(err)
	}
	store.release()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic on the loop, outside of its guard: %v", p)
		}
	}()
	s.turn()
}

func TestPanicOfARequestCostsItsConnectionOnly(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	store.hold = func(*presence.Op) bool { panic("a bug") }
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic on the loop, outside of its guard: %v", p)
		}
	}()
	s.ask(peer, "room:join", `"roomId":"r"`)
}

func TestStopRefusesAHandshakeUnderWayWith503(t *testing.T) {
	store := newMemStore()
	store.hold = func(*presence.Op) bool { return true }
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.knock("")
	s.turn()
	s.stopAll()
	if got := s.drain(peer); !strings.HasPrefix(got, "HTTP/1.1 503") {
		t.Errorf("got %q, want a 503", got)
	}
}

func TestRequestOfSeveralStepsIsAnsweredWithin2Seconds(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	store.hold = func(*presence.Op) bool { return true }
	s.ask(peer, "room:presence:subscribe", `"roomId":"r","event":"join"`) // sent: its track
	s.now = s.now.Add(1700 * time.Millisecond)
	store.release()
	store.hold = func(*presence.Op) bool { return true }
	s.turn() // its watch is sent, and may take 2 s of its own
	s.now = s.now.Add(300 * time.Millisecond)
	s.expireWaits()
	s.flushReplies()
	if got := s.drain(peer); !strings.Contains(got, "UnavailableError") {
		t.Errorf("got %q 2 s after the request, want an UnavailableError", got)
	}
}

func TestEveryConnectionIsReclaimed(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "old")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:join", `"roomId":"r","userData":{"a": 1}`)
	asked := make(chan []presence.Hold, 1)
	store.mu.Lock()
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpReclaim {
			asked <- op.Holds
		}
		return nil
	}
	inc := store.inc
	store.mu.Unlock()
	store.edge.Reclaim(7)
	holds := <-asked
	if len(holds) != 1 || !holds[0].Member || string(holds[0].Data) != `{"a":1}` || string(holds[0].ClientJSON) != `"old"` || holds[0].Track != "p 0 {}" {
		t.Errorf("the store is told %+v", holds)
	}
	p.ok("room:presence:update", `"roomId":"r","userData":2`) // waits for it
	store.mu.Lock()
	defer store.mu.Unlock()
	if m := store.rooms["acme:r"].members; len(m) != 1 || store.inc == inc {
		t.Errorf("%d members, incarnation %d, want 1, and a new one", len(m), store.inc)
	}
}

func TestWhatWaitsForAReclaimIsRefusedIn2Seconds(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	s.drain(peer)
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpReclaim }
	s.startReclaim(1)
	s.stepReclaim()
	if got := s.ask(peer, "room:presence:join", `"roomId":"r"`); got != "" {
		t.Fatalf("got %q before the connection is sure of itself", got)
	}
	s.now = s.now.Add(waitMs * time.Millisecond)
	s.expireWaits()
	s.flushReplies()
	if got := s.drain(peer); !strings.Contains(got, "UnavailableError") {
		t.Errorf("got %q, want an UnavailableError", got)
	}
	store.release()
	s.turn()
	if got := s.ask(peer, "room:presence:join", `"roomId":"r"`); !strings.Contains(got, "presence:join") {
		t.Errorf("got %q after the reclaim", got)
	}
}
