package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Random clients over two nodes, and in the end one truth.

const (
	churnClients = 60 // at any time
	churnRooms   = 6
	churnTime    = 6 * time.Second
)

func TestRandomChurnEndsInOneTruth(t *testing.T) {
	p := startPair(t, forgetful...)
	before := p.size(t)
	nodes := []*node{p.n1, p.n2}
	var observers []*audience
	for i, n := range nodes {
		for r := range churnRooms {
			observers = append(observers, watching(t, n, fmt.Sprintf("o%d.%d", i, r), "room:"+strconv.Itoa(r)))
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	stop := make(chan struct{})
	time.AfterFunc(churnTime, func() { close(stop) })
	c := churn{t: t, nodes: nodes, seed: seed, stop: stop}
	survivors := c.run()
	t.Logf("%d connections, %d requests", c.connections, c.requests)

	// Quiet: whoever is still there is a member of what it joined, and of nothing else.
	rooms := map[string]map[string]string{}
	for r := range churnRooms {
		rooms["room:"+strconv.Itoa(r)] = map[string]string{}
	}
	for _, s := range survivors {
		for room, data := range s.member {
			rooms[room][s.id] = data
		}
	}
	for room, want := range rooms {
		eventually(t, room+" holds who is there", func() bool { return maps.Equal(p.listed(t, room), want) })
	}
	p.markTheEnd(observers)
	for _, o := range observers {
		o.sees(rooms[o.room])
		o.silent()
		if got := o.got(o.room); !maps.Equal(got, rooms[o.room]) {
			t.Errorf("%s: get lists %v, Redis %v", o.name, got, rooms[o.room])
		}
	}
	// The observers of a room were told the same.
	for i, o := range observers[:churnRooms] {
		other := observers[churnRooms+i]
		if !maps.Equal(o.joined, other.joined) || !maps.Equal(o.left, other.left) || o.rev != other.rev {
			t.Errorf("%s: %s and %s were told different things, up to %d and %d", o.room, o.name, other.name, o.rev, other.rev)
		}
	}
	// When all have gone nothing is left behind.
	for _, s := range survivors {
		s.conn.Close()
	}
	for _, o := range observers {
		o.sees(map[string]string{})
		o.bye()
	}
	eventually(t, "Redis holds what it held before", func() bool { return p.size(t) == before })
}

func TestRandomChurnThroughOutagesLeavesNoGhost(t *testing.T) {
	p := startPairOn(t, []string{"--appendonly", "yes", "--appendfsync", "always"}, unlimited...)
	nodes := []*node{p.n1, p.n2}
	var observers []*audience
	for i, n := range nodes {
		for r := range churnRooms {
			o := watching(t, n, fmt.Sprintf("o%d.%d", i, r), "room:"+strconv.Itoa(r))
			o.gaps = true
			observers = append(observers, o)
		}
	}
	c := churn{t: t, nodes: nodes, seed: rand.Uint64(), stop: make(chan struct{}), tries: true}
	t.Logf("seed %d", c.seed)
	done := make(chan struct{})
	var survivors []*restless
	go func() {
		defer close(done)
		survivors = c.run()
	}()
	for i := range 10 { // the links to Redis break, and the scripts are forgotten
		<-time.After(100 * time.Millisecond)
		for _, args := range [][]any{{"client", "kill", "type", []string{"pubsub", "normal"}[i%2], "skipme", "yes"}, {"script", "flush"}} {
			if err := p.keys.Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		run  time.Duration
		down func()
		away time.Duration
		up   func()
	}{
		{time.Second, func() { p.redis.Pause(t) }, 500 * time.Millisecond, func() { p.redis.Resume(t) }},
		{time.Second, func() { p.redis.Pause(t) }, 3 * time.Second, func() { p.redis.Resume(t) }}, // longer than the lease
		{time.Second, func() { p.redis.Kill(t) }, 0, func() { p.redis.Restart(t) }},
		{time.Second, func() {}, 0, func() {}},
	} {
		<-time.After(step.run)
		step.down()
		<-time.After(step.away)
		step.up()
	}
	close(c.stop)
	<-done
	t.Logf("%d connections, %d requests, %d still there", c.connections, c.requests, len(survivors))

	alive := map[string]bool{}
	for _, s := range survivors {
		alive[s.id] = true
		if err := s.settle(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	for _, o := range observers {
		eventually(t, o.room+" holds nobody who has gone", func() bool {
			for id := range p.listed(t, o.room) {
				if !alive[id] {
					return false
				}
			}
			return true
		})
	}
	p.markTheEnd(observers)
	for _, o := range observers {
		o.sees(p.listed(t, o.room))
		o.silent()
		if got := o.got(o.room); !maps.Equal(got, o.known) {
			t.Errorf("%s: get lists %v, told was %v", o.name, got, o.known)
		}
	}
	for _, s := range survivors {
		s.conn.Close()
	}
	for _, o := range observers {
		o.sees(map[string]string{})
		if m := p.members(t, o.room); len(m) != 0 {
			t.Errorf("%s: ghosts: %v", o.room, m)
		}
	}
}

// markTheEnd has one more member come, be seen by everybody, and go, in each
// room. Events of a room come in order, and a repair brings all that was before
// it: who knows of that member has been told of everything earlier.
func (p *pair) markTheEnd(observers []*audience) {
	t := observers[0].t
	t.Helper()
	for r := range churnRooms {
		room := "room:" + strconv.Itoa(r)
		last := enter(t, p.n1, "last")
		last.enterRoom(room)
		all := func(what string, is func(*audience) bool) {
			t.Helper()
			for _, o := range observers {
				if o.room == room {
					o.takeUntil(what, func() bool { return is(o) })
				}
			}
		}
		last.acked("room:presence:join", `"roomId":"`+room+`","userData":0`, `"localapp:`+room+`:$:presence:join"`)
		all("the last one has come", func(o *audience) bool { return o.known[last.id] == "0" })
		last.acked("room:presence:leave", `"roomId":"`+room+`"`, `"localapp:`+room+`:$:presence:leave"`)
		all("the last one has gone", func(o *audience) bool { return o.known[last.id] == "" })
		last.bye()
	}
}

// size is the number of keys, but for the few that each node has for itself.
func (p *pair) size(t testing.TB) (n int) {
	t.Helper()
	keys, err := p.keys.Keys(t.Context(), "presence:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if len(key) < 16 || key[:16] != "presence:{nodes}" {
			n++
		}
	}
	return n
}

// churn is what the random clients share.
type churn struct {
	t     *testing.T
	nodes []*node
	seed  uint64
	stop  chan struct{}
	tries bool // Redis goes away meanwhile: requests may be refused for that

	mu                    sync.Mutex // protects the following
	connections, requests int
}

// run has all clients live one life after the other, and returns those that
// are still connected at the end.
func (c *churn) run() (survivors []*restless) {
	var running sync.WaitGroup
	for i := range churnClients {
		running.Go(func() {
			r := rand.New(rand.NewPCG(c.seed, uint64(i)))
			for life := 0; ; life++ {
				s := &restless{Rand: r, name: fmt.Sprintf("c%d.%d", i, life), in: map[string]bool{}, member: map[string]string{}}
				if err := s.live(c); err != nil {
					c.t.Errorf("%s: %v", s.name, err)
					return
				}
				c.mu.Lock()
				c.connections++
				c.requests += s.asked
				if s.conn != nil {
					survivors = append(survivors, s)
				}
				c.mu.Unlock()
				if s.conn != nil || c.stopped() {
					return
				}
			}
		})
	}
	running.Wait()
	return survivors
}

func (c *churn) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// restless is one life of a random client: it knows what must be true after
// each acknowledgement.
type restless struct {
	*rand.Rand
	name   string
	id     string
	conn   net.Conn // nil when it has gone
	r      *bufio.Reader
	in     map[string]bool   // rooms
	member map[string]string // room → data
	asked  int
	under  map[string]request // by ackId, in flight
}

type request struct{ kind, room, data string }

// live connects, does what comes to its mind and goes, unless it is told to
// stop: then it stays, with nothing in flight.
func (s *restless) live(c *churn) error {
	conn, err := net.DialTimeout("tcp", c.nodes[s.IntN(len(c.nodes))].client, patience)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(churnTime + 2*patience)); err != nil {
		return err
	}
	head := upgradeRequest(credentials(s.name))
	if s.IntN(10) == 0 { // gone in the handshake
		_, _ = io.WriteString(conn, head[:s.IntN(len(head)+1)])
		return s.end(conn)
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	s.conn, s.r, s.under = conn, bufio.NewReader(conn), map[string]request{}
	res, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusServiceUnavailable && c.tries {
		s.conn = nil
		return conn.Close()
	}
	if res.StatusCode != http.StatusSwitchingProtocols { // its body is no frames
		body, err := io.ReadAll(res.Body)
		return fmt.Errorf("refused with %s: %s (%v)", res.Status, body, err)
	}
	first, err := s.read()
	if err != nil {
		return err
	}
	s.id = first.Body.ConnectionID
	for range 5 + s.IntN(60) {
		var burst []byte
		for range 1 + s.IntN(4) {
			burst = append(burst, s.think()...)
		}
		if _, err := conn.Write(burst); err != nil {
			return err
		}
		if s.IntN(100) == 0 && !c.stopped() { // gone with requests in flight
			s.conn = nil
			return s.end(conn)
		}
		for len(s.under) > 0 {
			if err := s.hear(c); err != nil {
				return err
			}
		}
		if c.stopped() {
			return nil
		}
	}
	s.conn = nil
	return s.end(conn)
}

// end goes in one of three ways: close frame, end of stream, reset.
func (s *restless) end(conn net.Conn) error {
	switch s.IntN(3) {
	case 0:
		_, _ = conn.Write(masked(ws.OpClose, "\x03\xe8")) // it may have been refused: then there is nothing to close
	case 1:
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
	}
	return conn.Close()
}

// think makes the frame of a random request.
func (s *restless) think() []byte {
	room := "room:" + strconv.Itoa(s.IntN(churnRooms))
	kinds := []string{
		"room:join", "room:join", "room:presence:join", "room:presence:join", "room:presence:join", "room:presence:update",
		"room:presence:update", "room:presence:update", "room:presence:leave", "room:leave", "room:presence:get", "room:presence:count",
		"room:presence:subscribe", "room:presence:unsubscribe", "room:presence:unsubscribe:all", "room:subscription:bind", "room:subscription:unbind", "publish",
	}
	q := request{kind: kinds[s.IntN(len(kinds))], room: room}
	s.asked++
	q.data = `{"n":` + strconv.Itoa(s.asked) + `,"by":"` + s.name + `"}`
	body := `"roomId":"` + room + `","event":"` + []string{"join", "update", "leave"}[s.IntN(3)] + `"`
	switch q.kind {
	case "room:presence:join", "room:presence:update":
		body += `,"userData":` + q.data
	case "publish":
		body += `,"data":1`
	}
	id := strconv.Itoa(s.asked)
	s.under[id] = q
	return masked(ws.OpText, `{"type":"ds:client:`+q.kind+`","body":{`+body+`},"ackId":"`+id+`"}`)
}

func (s *restless) read() (f frame, err error) {
	for {
		h, err := ws.ReadHeader(s.r)
		if err != nil {
			return f, err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(s.r, payload); err != nil {
			return f, err
		}
		switch h.OpCode {
		case ws.OpText:
			f.raw = string(payload)
			return f, json.Unmarshal(payload, &f)
		case ws.OpClose:
			return f, fmt.Errorf("closed by the node: %q", payload)
		}
	}
}

// hear takes one frame; an acknowledgement must be what the client's own
// account of itself says.
func (s *restless) hear(c *churn) error {
	f, err := s.read()
	if err != nil {
		return err
	}
	if f.Type != "ds:server:message:acknowledged" {
		return nil // an event
	}
	q, ok := s.under[f.Body.AckID]
	if !ok {
		return fmt.Errorf("an acknowledgement that is not owed: %s", f.raw)
	}
	delete(s.under, f.Body.AckID)
	if c.tries {
		return nil // what was refused may have been done: the client cannot know
	}
	want := ""
	_, member := s.member[q.room]
	switch q.kind {
	case "room:join":
		s.in[q.room] = true
	case "room:leave":
		delete(s.in, q.room)
		delete(s.member, q.room)
	case "room:presence:leave":
		delete(s.member, q.room)
	case "room:presence:subscribe", "room:subscription:bind":
		if !s.in[q.room] {
			want = "NotInRoomError"
		}
	case "room:presence:join", "room:presence:update":
		switch {
		case !s.in[q.room]:
			want = "NotInRoomError"
		case !member && q.kind == "room:presence:update":
			want = "NotMemberError"
		default:
			s.member[q.room] = q.data
		}
	}
	if got := f.Body.Err; (got == nil) != (want == "") || got != nil && got.Name != want {
		return fmt.Errorf("%s in %s: got %s, want error %q", q.kind, q.room, f.raw, want)
	}
	return nil
}

// settle asks in every room until it is answered: an answer comes behind
// whatever was unknown of this connection there.
func (s *restless) settle() error {
	for room := range churnRooms {
		for answered := false; !answered; {
			s.asked++
			id := strconv.Itoa(s.asked)
			if _, err := s.conn.Write(masked(ws.OpText, `{"type":"ds:client:room:presence:count","body":{"roomId":"room:`+strconv.Itoa(room)+`"},"ackId":"`+id+`"}`)); err != nil {
				return err
			}
			for {
				f, err := s.read()
				if err != nil {
					return err
				}
				if f.Body.AckID == id {
					answered = f.Body.Err == nil
					break
				}
			}
		}
	}
	return nil
}
