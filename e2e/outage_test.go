package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Redis goes away while clients are connected, and comes back.

// answerWithin is the wire protocol's time to answer without a store, doubled
// for a busy machine; the real times are in the test's log.
const answerWithin = 4 * time.Second

// audience is a subscriber that keeps the members as it is told of them, and
// what is wrong in what it is told.
type audience struct {
	*peer
	room    string
	rev     int64
	known   map[string]string // connection id → data, "" for none
	joined  map[string]int    // how often each was told to have joined
	left    map[string]int
	reasons map[string]string
	again   bool // a join may come twice: nobody knows what its last socket was told
	gaps    bool // revisions may jump: what was missed is made good
}

func watching(t *testing.T, n *node, name, room string) *audience {
	t.Helper()
	a := &audience{peer: enter(t, n, name), room: room, known: map[string]string{}, joined: map[string]int{}, left: map[string]int{}, reasons: map[string]string{}}
	a.watch(room)
	return a
}

// take folds one event into what is known.
func (a *audience) take(text string) {
	a.t.Helper()
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		a.t.Fatalf("%s: %s: %v", a.name, text, err)
	}
	b := &e.Body
	if e.Type != "localapp:"+a.room+":$:presence:"+b.Event {
		a.t.Errorf("%s: got %s, want an event of room %s", a.name, text, a.room)
		return
	}
	if a.rev != 0 && b.Revision != a.rev+1 && len(a.known) > 0 && !a.gaps || b.Revision < a.rev || b.Revision == a.rev && !a.gaps {
		a.t.Errorf("%s: revision %d came after %d", a.name, b.Revision, a.rev)
	}
	a.rev = b.Revision
	_, here := a.known[b.ID]
	switch b.Event {
	case "join":
		if here && !a.again {
			a.t.Errorf("%s: a second join of a member: %s", a.name, text)
		}
		a.joined[b.ID]++
		a.known[b.ID] = string(b.Data)
	case "update":
		if !here {
			a.t.Errorf("%s: an update of no member: %s", a.name, text)
		}
		a.known[b.ID] = string(b.Data)
	case "leave":
		if !here {
			a.t.Errorf("%s: a leave of no member: %s", a.name, text)
		}
		a.left[b.ID]++
		a.reasons[b.ID] = b.Reason
		delete(a.known, b.ID)
	}
}

// takeUntil takes events until what is known is as wanted.
func (a *audience) takeUntil(what string, is func() bool) {
	a.t.Helper()
	for !is() {
		select {
		case f, open := <-a.frames:
			if !open {
				a.t.Fatalf("%s: the socket ended, code %d", a.name, a.code)
			}
			a.take(f)
		case <-time.After(patience):
			a.t.Fatalf("%s: not within %v: %s; known are %d: %v", a.name, patience, what, len(a.known), a.known)
		}
	}
}

// sees takes events until exactly these members are known, and compares.
func (a *audience) sees(want map[string]string) {
	a.t.Helper()
	a.takeUntil(fmt.Sprintf("the members of Redis, %d", len(want)), func() bool { return maps.Equal(a.known, want) })
}

// listed returns the room as Redis has it: connection id → data.
func (p *pair) listed(t testing.TB, room string) map[string]string {
	t.Helper()
	list := map[string]string{}
	for conn, value := range p.members(t, room) {
		var m struct{ Data json.RawMessage }
		if err := json.Unmarshal([]byte(value), &m); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		list["localapp:"+conn] = string(m.Data)
	}
	return list
}

// got returns the room as a node lists it.
func (p *peer) got(room string) map[string]string {
	p.t.Helper()
	text, ackID := p.ask("room:presence:get", `"roomId":"`+room+`"`)
	var a struct {
		Body struct {
			AckID string
			Data  []struct {
				ID   string
				Data json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil || a.Body.AckID != ackID {
		p.t.Fatalf("%s: got %s (%v), want the list of %s", p.name, text, err, room)
	}
	list := map[string]string{}
	for _, m := range a.Body.Data {
		list[m.ID] = string(m.Data)
	}
	return list
}

// needsRedis are the requests that cannot be answered without the store.
var needsRedis = []struct{ kind, fields string }{
	{"room:join", `"roomId":"other"`},
	{"room:presence:join", `"roomId":"r","userData":"again"`},
	{"room:presence:update", `"roomId":"r","userData":"late"`},
	{"room:presence:get", `"roomId":"r"`},
	{"room:presence:count", `"roomId":"r"`},
	{"room:presence:subscribe", `"roomId":"r","event":"join"`},
	{"room:subscription:bind", `"roomId":"r","event":"m"`},
	{"publish", `"roomId":"elsewhere","event":"m","data":1`},
}

func TestRedisGoesAndComesBack(t *testing.T) {
	for name, outage := range map[string]struct {
		down, up func(t *testing.T, p *pair)
		args     []string
	}{
		"paused": {
			down: func(t *testing.T, p *pair) { p.redis.Pause(t) },
			up:   func(t *testing.T, p *pair) { p.redis.Resume(t) },
		},
		"killed, with its data": {
			down: func(t *testing.T, p *pair) { p.redis.Kill(t) },
			up:   func(t *testing.T, p *pair) { p.redis.Restart(t) },
			args: []string{"--appendonly", "yes", "--appendfsync", "always"},
		},
	} {
		t.Run(name, func(t *testing.T) { testOutage(t, outage.down, outage.up, outage.args) })
	}
}

func testOutage(t *testing.T, down, up func(*testing.T, *pair), args []string) {
	p := startPairOn(t, args, unlimited...)
	observers := []*audience{watching(t, p.n1, "o1", "r"), watching(t, p.n2, "o2", "r")}
	// For each request a member of its own, on alternating nodes; some that go
	// away meanwhile.
	var asking, going []*peer
	member := func(n *node, name string) *peer {
		c := enter(t, n, name)
		c.enterRoom("r")
		c.acked("room:presence:join", `"roomId":"r","userData":"`+name+`"`, `"localapp:r:$:presence:join"`)
		return c
	}
	nodes := []*node{p.n1, p.n2}
	for i := range needsRedis {
		asking = append(asking, member(nodes[i%2], "asks"+strconv.Itoa(i)))
	}
	for i := range 10 {
		going = append(going, member(nodes[i%2], "goes"+strconv.Itoa(i)))
	}
	leaver, quitter, second := member(p.n1, "leaver"), member(p.n2, "quitter"), member(p.n1, "second")
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
		o.gaps = true
	}

	down(t, p)
	// Twice: while the lease still holds, and after.
	for _, when := range []string{"at first", "later"} {
		began := time.Now()
		within := func(what string) {
			t.Helper()
			if took := time.Since(began); took > answerWithin {
				t.Errorf("%s: %s after %v", when, what, took)
			} else {
				t.Logf("%s: %s after %v", when, what, took.Round(time.Millisecond))
			}
		}
		ids := make([]string, len(asking))
		for i, c := range asking {
			var text string
			text, ids[i] = c.request(needsRedis[i].kind, needsRedis[i].fields)
			c.send(text)
		}
		var fresh []net.Conn
		for _, n := range nodes {
			c := dial(t, n)
			if _, err := io.WriteString(c, upgradeRequest(credentials("new"))); err != nil {
				t.Fatal(err)
			}
			fresh = append(fresh, c)
		}
		for _, c := range fresh {
			status, e, res := answer(t, c)
			if status != http.StatusServiceUnavailable || e.Name != "UnavailableError" || res.Header.Get("Retry-After") == "" {
				t.Errorf("a new connection got %d %+v %v, want 503 with Retry-After", status, e, res.Header)
			}
		}
		within("new connections were refused")
		for i, c := range asking {
			c.isRefusal(c.read(), ids[i], "UnavailableError", 503, "unavailable")
		}
		within("every request was refused")
		if when == "at first" {
			for i, c := range going { // closed and lost
				if i < 5 {
					c.write(masked(ws.OpClose, ""))
				} else {
					c.conn.Close()
				}
			}
			leaver.refused("room:presence:leave", `"roomId":"r"`, "UnavailableError", 503, "unavailable")
			quitter.refused("room:leave", `"roomId":"r"`, "UnavailableError", 503, "unavailable")
		}
	}
	// By now a paused Redis has let the lease lapse: nothing is sent at all.
	second.refused("room:leave", `"roomId":"r"`, "UnavailableError", 503, "unavailable")
	for _, c := range append(asking, leaver, quitter, second) { // what needs no store works all the time
		c.silent()
	}

	up(t, p)
	// By itself: the same sockets, without a new connection.
	for _, c := range asking {
		eventually(t, "a count is answered again on "+c.name, func() bool {
			got, _ := c.ask("room:presence:count", `"roomId":"r"`)
			return !strings.Contains(got, `"err"`)
		})
	}
	// Whoever was told "unavailable" asks again.
	again := func(c *peer, kind, fields string) {
		t.Helper()
		eventually(t, kind+" works again", func() bool {
			got, _ := c.ask(kind, fields)
			return !strings.Contains(got, `"err"`)
		})
	}
	again(leaver, "room:presence:leave", `"roomId":"r"`)
	again(quitter, "room:leave", `"roomId":"r"`)
	again(second, "room:leave", `"roomId":"r"`)
	for i, c := range asking {
		again(c, needsRedis[i].kind, needsRedis[i].fields)
	}
	late := enter(t, p.n1, "late")
	late.enterRoom("r")
	late.acked("room:presence:join", `"roomId":"r","userData":"late"`, `"localapp:r:$:presence:join"`)

	gone := append(going, leaver, quitter, second)
	eventually(t, "the members in Redis are those that are connected", func() bool {
		list := p.listed(t, "r")
		for _, c := range gone {
			if _, there := list[c.id]; there {
				return false
			}
		}
		return len(list) == len(asking)+1
	})
	want := p.listed(t, "r")
	for _, o := range observers {
		o.sees(want)
		for _, c := range gone {
			if o.left[c.id] != 1 || o.joined[c.id] != 1 {
				t.Errorf("%s: %s joined %d and left %d times, want once (%s)", o.name, c.name, o.joined[c.id], o.left[c.id], o.reasons[c.id])
			}
		}
		for _, c := range asking {
			if o.joined[c.id] != 1 || o.left[c.id] != 0 {
				t.Errorf("%s: %s, who stayed, joined %d and left %d times", o.name, c.name, o.joined[c.id], o.left[c.id])
			}
		}
		o.silent()
		if got := o.got("r"); !maps.Equal(got, want) {
			t.Errorf("%s: get lists %v, Redis %v", o.name, got, want)
		}
	}
}
