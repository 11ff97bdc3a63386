package node

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
)

// comeBack connects with the id that p has, as the public client does.
func comeBack(t testing.TB, n *Node, p *peer, client, more string) *peer {
	t.Helper()
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, upgradeRequest("apiKey="+testKey+"&clientId="+client+"&connectionId="+p.id+more)); err != nil {
		t.Fatal(err)
	}
	q := accepted(t, c)
	if q.id != p.id {
		t.Fatalf("came back as %s, want %s", q.id, p.id)
	}
	return q
}

// hangUp ends p's socket without a close frame.
func (p *peer) hangUp() {
	p.t.Helper()
	if err := p.conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Fatal(err)
	}
	p.conn.Close()
}

// wasIn is what a session says of one room.
func wasIn(state, track string, handed presence.Revision) *presence.Restored {
	return &presence.Restored{State: state, From: "n2.1", Rooms: []presence.Listed{{
		Room: "r", Track: track, Handed: handed, Member: true, Revision: 90, Data: []byte(`{"a":1}`),
	}}}
}

const allSubscribed = `p 80 {"presence":["join","update","leave"],"bind":["$:subscribe:all","moved"]}`

func TestResumedConnectionIsWhatItWas(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p, bob := connect(t, n, "eve"), connect(t, n, "bob")
	bob.ok("room:join", `"roomId":"r"`)
	bob.ok("room:presence:join", `"roomId":"r"`)
	p.hangUp()
	waitFor(t, func() bool { return store.gone() == 1 })
	store.mu.Lock()
	store.resume = wasIn("grace", allSubscribed, 80)
	store.replayed = []*presence.Event{
		{Kind: presence.KindJoin, Revision: 81, Conn: presence.NewConnID(), Client: []byte(`"x"`)},
		{Kind: presence.KindLeave, Revision: 82, Conn: presence.NewConnID(), Client: []byte(`"x"`)},
	}
	store.mu.Unlock()

	q := comeBack(t, n, p, "eve", "")
	for _, want := range []string{`"event":"join"`, `"event":"leave"`} {
		if got := q.read(); !strings.Contains(got, want) || !strings.Contains(got, `"clientId":"x"`) {
			t.Errorf("got %s, want what was missed: %s", got, want)
		}
	}
	bob.ok("room:presence:update", `"roomId":"r","userData":2`)
	if got := q.read(); !strings.Contains(got, `"event":"update"`) {
		t.Errorf("got %s, want the live event", got)
	}
	bob.ok("publish", `"roomId":"r","event":"moved","data":3`)
	for range 2 { // under its name, and under the one for all
		if got := q.read(); !strings.Contains(got, `"body":3`) {
			t.Errorf("got %s, want the message", got)
		}
	}
	q.ok("room:join", `"roomId":"r"`) // is in it
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.replays) != 1 || store.replays[0].Handed != 80 || store.replays[0].From != "n2.1" {
		t.Errorf("asked for the replays %+v", store.replays)
	}
	if store.late != "n2.1" {
		t.Errorf("asked %q for late acknowledgements", store.late)
	}
	if len(store.rooms["acme:r"].members) != 1 {
		t.Error("coming back changed who is present")
	}
}

func TestSubscriptionThatCannotBeResumedClosesItsSocket(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "eve")
	p.hangUp()
	waitFor(t, func() bool { return store.gone() == 1 })
	store.mu.Lock()
	store.resume = wasIn("grace", allSubscribed, 80)
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpWatch {
			return presence.Errorf(presence.CodeUnavailable, "no")
		}
		return nil
	}
	store.mu.Unlock()
	q := comeBack(t, n, p, "eve", "")
	if code := q.closed(); code != closeTryAgain {
		t.Errorf("closed with %d, want %d", code, closeTryAgain)
	}
	waitFor(t, func() bool { return store.gone() == 2 })
	store.mu.Lock()
	defer store.mu.Unlock()
	last := store.detached[len(store.detached)-1]
	if len(last.Handed) != 1 || last.Handed[0].Revision != 80 {
		t.Errorf("detached with %+v, want the revision from before: nothing was replayed", last.Handed)
	}
}

func TestTakenSocketIsToldNothingAndNotClosed(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p, bob := connect(t, n, "eve"), connect(t, n, "bob")
	for _, x := range []*peer{p, bob} {
		x.ok("room:join", `"roomId":"r"`)
	}
	p.ok("room:presence:subscribe", `"roomId":"r","event":"join"`)
	store.mu.Lock()
	store.resume = wasIn("live", allSubscribed, 0)
	store.mu.Unlock()
	q := comeBack(t, n, p, "eve", "")
	waitFor(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.released) == 1 && len(store.replays) == 1 // resumed: from here on it is live
	})
	bob.ok("room:presence:join", `"roomId":"r"`)
	if got := q.read(); !strings.Contains(got, `"event":"join"`) {
		t.Errorf("the new socket got %s", got)
	}
	p.write(masked(ws.OpPing, "still?"))
	if f := p.frame(); f.Header.OpCode != ws.OpPong {
		t.Errorf("the old socket got %v %s, want the pong and nothing before it", f.Header.OpCode, f.Payload)
	}
	if got := p.fails("room:presence:join", `"roomId":"r"`, "UnavailableError"); !strings.Contains(got, `"code":"fenced"`) {
		t.Errorf("the old socket got %s", got)
	}
	store.mu.Lock()
	r := store.released[0]
	store.mu.Unlock()
	if len(r.Handed) != 1 || r.Handed[0].Room != "r" || r.Handed[0].Revision != 1 {
		t.Errorf("released with %+v, want room r, empty when it began", r.Handed)
	}
	p.hangUp()
	waitFor(t, func() bool { return n.open.Load() == 2 })
	if store.gone() != 0 {
		t.Error("the old socket's end ended the connection")
	}
	q.ok("room:join", `"roomId":"r"`)
}

func TestLateAcknowledgementComesOnTheNextSocket(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "eve")
	p.ok("room:join", `"roomId":"r"`)
	store.mu.Lock()
	store.grace = true
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpJoin }
	store.mu.Unlock()
	p.send(p.request("room:presence:join", `"roomId":"r"`))  // a2: with the store
	p.send(p.request("room:presence:count", `"roomId":"r"`)) // a3: behind it, never sent
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	p.hangUp()
	waitFor(t, func() bool { return store.gone() == 1 })
	store.mu.Lock()
	if d := store.detached[0]; !d.Unanswered || len(d.Rooms) != 1 {
		t.Errorf("detached as %+v, want unanswered, perhaps in r", d)
	}
	store.resume = wasIn("grace", "p 0 {}", 0)
	store.mu.Unlock()
	q := comeBack(t, n, p, "eve", "")
	q.acks = 10
	q.ok("room:create", `"roomId":"z"`) // nothing is owed before it is whole
	store.release()
	got := q.read() + q.read()
	if !strings.Contains(got, `"ackId":"a2","data":"acme:r:$:presence:join"`) {
		t.Errorf("got %s, want the acknowledgement of a2", got)
	}
	if !strings.Contains(got, `"ackId":"a3","data":null`) || !strings.Contains(got, "UnavailableError") {
		t.Errorf("got %s, want the refusal of a3", got)
	}
}

func TestSocketThatIsTakenBeforeItHasOpenedIsForgotten(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpResume }
	store.resume = wasIn("grace", allSubscribed, 80)
	id := presence.NewConnID()
	near, peer := s.knockWith("apiKey=" + testKey + "&clientId=1&connectionId=acme:" + id.String())
	s.turn()
	s.node.Taken(id, store.inc+1) // another node was quicker than the answer
	s.turn()
	store.release()
	s.turn()
	s.turn()
	if got := s.ask(peer, "room:presence:join", `"roomId":"r"`); !strings.Contains(got, `"code":"fenced"`) {
		t.Errorf("got %q, want a refusal", got)
	}
	if c := s.socketOf(near); c.flags&flagTaken == 0 || c.entries != nil {
		t.Error("the socket still has the connection")
	}
	if len(store.released) != 1 || len(store.released[0].Handed) != 1 || store.released[0].Handed[0].Revision != 80 {
		t.Errorf("released are %+v, want what the socket before it was handed", store.released)
	}
}

// elsewhere is a store that has another node's answers to Late.
type elsewhere struct {
	*memStore
	owed []func([][]byte) // who asks
}

func (s *elsewhere) Late(_ presence.ConnID, _ string, answer func([][]byte)) {
	s.owed = append(s.owed, answer)
}

func TestLateAcknowledgementsOutliveAHangUpInTheResume(t *testing.T) {
	store := &elsewhere{memStore: newMemStore()}
	s := stillLoop(t, testOptions(t, store))
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpResume }
	store.resume = wasIn("grace", "p 0 {}", 0)
	store.resume.From = "n2.1"
	id := presence.NewConnID()
	near, _ := s.knockWith("apiKey=" + testKey + "&clientId=1&connectionId=acme:" + id.String())
	s.turn()
	s.lose(s.socketOf(near), endLost) // as when the peer has reset it
	store.release()
	s.turn()
	if len(store.detached) != 1 || len(store.owed) != 1 {
		t.Fatalf("%d detached, %d asked for, want one of each", len(store.detached), len(store.owed))
	}
	given := make(chan [][]byte, 1)
	s.node.late.take(id, func(p [][]byte) { given <- p }) // the next socket is quicker than the other node
	store.owed[0]([][]byte{[]byte("one"), []byte("two")})
	if got := <-given; len(got) != 2 {
		t.Errorf("given %q, want both", got)
	}
}

func TestResumeSecret(t *testing.T) {
	store := newMemStore()
	var secrets []string
	store.refuse = func(op *presence.Op) *presence.Error {
		secrets = append(secrets, op.Secret)
		return nil
	}
	n := startNode(t, testOptions(t, store))
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, upgradeRequest("apiKey="+testKey+"&clientId=1&features=batches,resume")); err != nil {
		t.Fatal(err)
	}
	r := readAll(t, c, `"resumeSecret":"`)
	_, rest, _ := strings.Cut(r, `"resumeSecret":"`)
	secret, _, _ := strings.Cut(rest, `"`)
	if !strings.Contains(r, `"features":["resume"]`) || len(secret) < 20 {
		t.Fatalf("first frame: %s", r)
	}
	_, rest, _ = strings.Cut(r, `"connectionId":"`)
	id, _, _ := strings.Cut(rest, `"`)
	comeBack(t, n, &peer{id: id}, "1", "&features=resume&resumeSecret="+secret)
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(secrets) != 2 || secrets[0] != secrets[1] || len(secrets[0]) != 64 || secrets[0] == secret {
		t.Errorf("the store was given %q, want the same hash twice", secrets)
	}
}

// readAll reads until what was read holds want.
func readAll(t testing.TB, c net.Conn, want string) string {
	t.Helper()
	var all []byte
	b := make([]byte, 4096)
	for !strings.Contains(string(all), want) || !strings.HasSuffix(string(all), "}}") {
		k, err := c.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		all = append(all, b[:k]...)
	}
	return string(all)
}

func TestWhatThePeerDidNotTakeIsNotHanded(t *testing.T) {
	store := newMemStore()
	store.grace = true
	n := startNode(t, testOptions(t, store))
	p, bob := connect(t, n, "eve"), connect(t, n, "bob")
	for _, x := range []*peer{p, bob} {
		x.ok("room:join", `"roomId":"r"`)
	}
	p.ok("room:presence:subscribe", `"roomId":"r","event":"update"`)
	bob.ok("room:presence:join", `"roomId":"r"`)
	long := `"` + strings.Repeat("x", 8<<10) + `"`
	rev := 0
	for store.gone() == 0 { // p reads nothing, so it is closed as a slow consumer
		bob.ok("room:presence:update", `"roomId":"r","userData":`+long)
		rev++
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	d := store.detached[0]
	if d.Grace != 10*time.Second || d.Reason != presence.ReasonTimeout {
		t.Errorf("detached as %+v", d)
	}
	if len(d.Handed) != 1 || d.Handed[0].Kinds != maskUpdate || d.Unsent < 64<<10 {
		t.Errorf("handed %+v, %d bytes not taken after %d events of 8 KiB", d.Handed, d.Unsent, rev)
	}
	if last := store.rooms["acme:r"].rev; d.Handed[0].Revision > last || d.Handed[0].Revision < last-16 {
		t.Errorf("handed up to %d of %d", d.Handed[0].Revision, last)
	}
}

func TestDrainSendsEverybodyAway(t *testing.T) {
	store := newMemStore()
	store.grace = true
	opts := testOptions(t, store)
	opts.DrainDelay, opts.DrainWindow, opts.DrainGrace = 20*time.Millisecond, 300*time.Millisecond, 20*time.Second
	n := startNode(t, opts)
	var peers []*peer
	for range 10 {
		p := connect(t, n, "1")
		p.ok("room:join", `"roomId":"r"`)
		p.ok("room:presence:join", `"roomId":"r"`)
		peers = append(peers, p)
	}
	store.mu.Lock()
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpCount }
	store.mu.Unlock()
	peers[0].send(peers[0].request("room:presence:count", `"roomId":"r"`))
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	done := make(chan struct{})
	go func() { defer close(done); n.Drain(context.Background()) }()
	for _, p := range peers[1:] {
		if code := p.closed(); code != ws.StatusGoingAway {
			t.Errorf("closed with %d, want 1001", code)
		}
		p.conn.Close()
	}
	store.release()
	if got := peers[0].read(); !strings.Contains(got, `"data":10`) {
		t.Errorf("got %s, want the answer before the close frame", got)
	}
	if code := peers[0].closed(); code != ws.StatusGoingAway {
		t.Errorf("closed with %d, want 1001", code)
	}
	peers[0].conn.Close()
	<-done
	if _, err := net.Dial("tcp", n.ClientAddr().String()); err == nil {
		t.Error("the port still takes connections")
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.detached) != 10 || len(store.departed) != 0 {
		t.Errorf("%d detached, %d departed, want 10 and 0", len(store.detached), len(store.departed))
	}
	for _, d := range store.detached {
		if d.Grace != opts.DrainGrace || len(d.Rooms) != 1 {
			t.Errorf("detached as %+v", d)
		}
	}
}

func TestSubscriptionsAreReadAsTheyAreWritten(t *testing.T) {
	for _, want := range []struct {
		mask  uint8
		binds []string
	}{
		{0, nil},
		{maskJoin, nil},
		{maskPresence, nil},
		{maskAll, nil},
		{maskNamed, []string{`"a\"b"`, `"ü"`}},
		{maskLeave | maskAll | maskNamed, []string{`"x"`}},
	} {
		line := "p 123 " + string(subscriptions(nil, want.mask, want.binds))
		mask, binds := parseSubscriptions(line)
		if mask != want.mask || strings.Join(binds, " ") != strings.Join(want.binds, " ") {
			t.Errorf("%s is read as %b %q, want %b %q", line, mask, binds, want.mask, want.binds)
		}
	}
	for _, line := range []string{"", "p", "p 0", "p 0 rubbish", `p 0 {"presence":["mark","x"],"bind":[]}`} {
		if mask, binds := parseSubscriptions(line); mask != 0 || binds != nil {
			t.Errorf("%q is read as %b %q", line, mask, binds)
		}
	}
}
