package e2e

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// How a client is lost, and how it comes back.

// lose ends the socket without a close frame. What had come is lost with it.
func (p *peer) lose() {
	p.t.Helper()
	p.conn.Close()
	for range p.frames {
	}
}

// returning is the query of a client that brings p's connection id.
func (p *peer) returning(more string) string {
	return credentials(p.name) + "&connectionId=" + url.QueryEscape(p.id) + more
}

// back opens a new socket with p's connection id.
func (p *peer) back(n *node) *peer { p.t.Helper(); return p.backWith(n, "") }

// backWith also has more in its query.
func (p *peer) backWith(n *node, more string) *peer {
	p.t.Helper()
	q := enterWith(p.t, n, p.name, upgradeRequest(p.returning(more)))
	if q.id != p.id {
		p.t.Fatalf("%s came back as %s and is %s", p.name, p.id, q.id)
	}
	q.acks.Store(p.acks.Load() + 1000) // no ackId twice
	return q
}

// likeSDK comes back as the public client does: after 1 to 2 s, then after
// longer, and to whatever node takes it.
func (p *peer) likeSDK(nodes ...*node) *peer {
	p.t.Helper()
	for _, delay := range []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second} {
		<-time.After(delay)
		for _, n := range nodes { // a balancer asks the next one
			if q := p.trying(n); q != nil {
				return q
			}
		}
	}
	p.t.Fatalf("%s: no node takes it back", p.name)
	return nil
}

// trying comes back, or returns nil when the node does not take it now.
func (p *peer) trying(n *node) *peer {
	p.t.Helper()
	if n.ready() != http.StatusOK {
		return nil
	}
	return p.back(n)
}

// turnedAway opens an upgrade that must be refused with this status.
func turnedAway(t testing.TB, n *node, query string, status int) {
	t.Helper()
	c := dial(t, n)
	if _, err := io.WriteString(c, upgradeRequest(query)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got, e, _ := answer(t, c); got != status || e.Message == "" {
		t.Errorf("%s: got %d %+v, want %d", query, got, e, status)
	}
}

// closeWith sends a close frame, with no code when it is 0, and waits for the end.
func (p *peer) closeWith(code ws.StatusCode) {
	p.t.Helper()
	body := ""
	if code != 0 {
		body = string(ws.NewCloseFrameBody(code, ""))
	}
	p.write(masked(ws.OpClose, body))
	p.ended()
}

// reset ends the socket as a host that has lost it does. The frame before it
// acknowledges what the host had: a node that does not know that says it twice.
func (p *peer) reset() {
	p.t.Helper()
	p.write(masked(ws.OpPong, ""))
	if err := p.conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Fatal(err)
	}
	p.lose()
}

// joins enters the room and becomes a member of it.
func (p *peer) joins(room, data string) {
	p.t.Helper()
	p.enterRoom(room)
	p.acked("room:presence:join", `"roomId":"`+room+`","userData":`+data, `"localapp:`+room+`:$:presence:join"`)
}

// updates changes the data of a member.
func (p *peer) updates(room, data string) {
	p.t.Helper()
	p.acked("room:presence:update", `"roomId":"`+room+`","userData":`+data, `"localapp:`+room+`:$:presence:update"`)
}

// onBoth are observers of a room, one on each node.
func (p *pair) onBoth(t *testing.T, room string) []*audience {
	t.Helper()
	return []*audience{watching(t, p.n1, "o1", room), watching(t, p.n2, "o2", room)}
}

// state is the session's state in Redis; "" for none.
func (p *pair) state(c *peer) string {
	return p.keys.HGet(c.t.Context(), "presence:{c"+c.key()[:2]+"}:session:"+c.key(), "state").Val()
}

// waits waits until the session of a lost socket waits for its client.
func (p *pair) waits(c *peer) {
	c.t.Helper()
	eventually(c.t, c.name+" is waited for", func() bool { return p.state(c) == "grace" })
}

// toldNothing checks that what an observer counts is what it was, and that
// nothing has come since.
func toldNothing(observers []*audience, of *peer) {
	for _, o := range observers {
		o.t.Helper()
		o.silent()
	}
	stayed(observers, of)
}

// stayed checks that observers were told of one join and no leave.
func stayed(observers []*audience, of *peer) {
	for _, o := range observers {
		o.t.Helper()
		if o.joined[of.id] != 1 || o.left[of.id] != 0 {
			o.t.Errorf("%s: %s joined %d times and left %d times (%s)", o.name, of.name, o.joined[of.id], o.left[of.id], o.reasons[of.id])
		}
	}
}

// leftOnce checks that observers are told of exactly one leave, and of nothing else.
func leftOnce(observers []*audience, of *peer, reason string) {
	leftAmong(observers, of, reason)
	for _, o := range observers {
		o.t.Helper()
		o.silent()
	}
}

// leftAmong is leftOnce of one of several that go at about the same time.
func leftAmong(observers []*audience, of *peer, reason string) {
	for _, o := range observers {
		o.t.Helper()
		o.takeUntil(of.name+" has left", func() bool { return o.left[of.id] > 0 })
		if o.joined[of.id] != 1 || o.left[of.id] != 1 || o.reasons[of.id] != reason {
			o.t.Errorf("%s: %s joined %d times and left %d times, for %q, want once for %q", o.name, of.name, o.joined[of.id], o.left[of.id], o.reasons[of.id], reason)
		}
	}
}
