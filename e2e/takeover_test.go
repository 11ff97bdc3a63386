package e2e

import (
	"strings"
	"testing"
)

// A second socket with the id of a live one: the network of the first is half
// open. The new one has everything; the old one is told nothing more, and is not
// closed, for its client would take that for its own end.

func TestANewSocketTakesTheConnectionFromAnOldOne(t *testing.T) {
	p := startPair(t, append([]string{"PRESENCE_PING_INTERVAL=1s", "PRESENCE_PING_TIMEOUT=3s"}, unlimited...)...)
	observers := p.onBoth(t, "r")
	for name, to := range map[string]*node{"the same node": p.n1, "another node": p.n2} {
		t.Run(name, func(t *testing.T) {
			old, other := watching(t, p.n1, "bob", "r"), enter(t, p.n1, "other")
			old.acked("room:subscription:bind", `"roomId":"r","event":"m"`, `"localapp:r::m"`)
			old.joins("s", "1")
			old.acked("room:presence:join", `"roomId":"r","userData":1`, `"localapp:r:$:presence:join"`)
			old.sees(p.listed(t, "r"))
			for _, o := range observers {
				o.t = t
				o.sees(p.listed(t, "r"))
			}
			now := &audience{peer: old.back(to), room: "r", rev: old.rev, known: old.known, joined: old.joined, left: old.left, reasons: old.reasons}
			now.updates("s", "2") // it is this one's
			other.joins("r", "2")
			other.updates("r", "3")
			now.sees(p.listed(t, "r"))
			if got, id := other.ask("publish", `"roomId":"r","event":"m","data":1`); !strings.Contains(got, id) {
				t.Errorf("publish: %s", got)
			}
			if got := now.read(); !strings.HasPrefix(got, `{"type":"localapp:r::m",`) {
				t.Errorf("got %s, want the message", got)
			}
			// Nothing of it comes to the old one: what comes is the answer.
			for _, q := range []struct{ kind, fields string }{
				{"room:presence:update", `"roomId":"r","userData":"old"`},
				{"room:join", `"roomId":"x"`},
				{"room:leave", `"roomId":"r"`},
				{"publish", `"roomId":"r","event":"m","data":"old"`},
				{"room:presence:get", `"roomId":"r"`},
			} {
				old.refused(q.kind, q.fields, "UnavailableError", 503, "fenced")
			}
			pings := old.pings.Load()
			eventually(t, "the old one has answered three more pings", func() bool { return old.pings.Load() >= pings+3 })
			other.updates("r", "4")
			now.sees(p.listed(t, "r"))
			old.refused("room:presence:leave", `"roomId":"r"`, "UnavailableError", 503, "fenced")
			for _, o := range observers {
				o.sees(p.listed(t, "r"))
			}
			toldNothing(observers, now.peer)
			// It is dropped when it does not answer any more, and that ends nothing.
			old.mute.Store(true)
			if code := old.ended(); code == 1000 {
				t.Errorf("closed with %d", code)
			}
			now.updates("s", "3")
			toldNothing(observers, now.peer)
			now.silent()
			now.bye()
			other.bye()
			for _, o := range observers {
				o.sees(map[string]string{})
				if o.left[now.id] != 1 || o.reasons[now.id] != "closed" {
					t.Errorf("%s: bob left %d times (%s)", o.name, o.left[now.id], o.reasons[now.id])
				}
			}
		})
	}
}

// The old socket's own end, whatever it is, ends nothing either.
func TestTheEndOfATakenSocketEndsNothing(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	now := enter(t, p.n1, "bob")
	now.joins("r", "1")
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
	}
	nodes := []*node{p.n1, p.n2}
	for i, end := range []func(*peer){
		func(c *peer) { c.closeWith(0) }, (*peer).lose, (*peer).reset, func(c *peer) { c.closeWith(1000) }, func(c *peer) { c.closeWith(4000) }, (*peer).lose,
	} {
		old := now
		now = old.back(nodes[i/2%2])
		end(old)
		now.silent()
		now.enterRoom("after") // behind whatever the end of the old one sends
		toldNothing(observers, now)
	}
	if got := p.listed(t, "r"); len(got) != 1 {
		t.Errorf("Redis lists %v", got)
	}
	now.bye()
	leftOnce(observers, now, "closed")
}

// Tabs and devices of one client: each is a member of its own.
func TestTabsAndDevicesAreMembersOfTheirOwn(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	var tabs []*peer
	for i := range 7 {
		c := enter(t, []*node{p.n1, p.n2}[i%2], "bob")
		c.joins("r", "1")
		tabs = append(tabs, c)
	}
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
		if len(o.known) != 7 {
			t.Errorf("%s knows %v", o.name, o.known)
		}
	}
	tabs[0].bye() // one tab is closed, one device is lost, one goes through a tunnel
	leftOnce(observers, tabs[0], "closed")
	tabs[2].lose()
	p.waits(tabs[2])
	tabs[2] = tabs[2].back(p.n2)
	toldNothing(observers, tabs[2])
	tabs[1].lose()
	leftOnce(observers, tabs[1], "timeout")
	for _, c := range tabs[2:] {
		c.updates("r", "2")
	}
	want := p.listed(t, "r")
	if len(want) != 5 {
		t.Errorf("Redis lists %v, want five", want)
	}
	for _, o := range observers {
		o.sees(want)
		for _, c := range tabs[2:] {
			if o.left[c.id] != 0 || o.joined[c.id] != 1 {
				t.Errorf("%s: %s left %d times", o.name, c.id, o.left[c.id])
			}
		}
	}
}
