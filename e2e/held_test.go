package e2e

import (
	"fmt"
	"maps"
	"testing"

	"github.com/gobwas/ws"

	"presencesets/internal/netfault"
)

// A node whose link to Redis goes silent. What it had sent lies in the network,
// and arrives when others have long given it up: nothing of it may be applied.
func TestWhatANodeHadOnItsWayIsNotApplied(t *testing.T) {
	p := startPair(t, unlimited...)
	wire, err := netfault.Listen(p.redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wire.Close(); err != nil {
			t.Error(err)
		}
	})
	n3 := startNode(t, "n3", wire.Addr(), unlimited...)
	observers := p.onBoth(t, "r")
	here, moved := crowd(t, p, n3, "here", 5, observers), crowd(t, p, n3, "moved", 5, observers)
	var ghosts []*peer // in the room, no members yet
	for i := range 5 {
		c := enter(t, n3, fmt.Sprintf("ghost%d", i))
		c.enterRoom("r")
		ghosts = append(ghosts, c)
	}

	wire.Hold(nil)
	type sent struct {
		c  *peer
		id string
	}
	var waiting []sent
	for _, c := range moved {
		text, id := c.request("room:presence:update", `"roomId":"r","userData":"old"`)
		c.send(text)
		waiting = append(waiting, sent{c, id})
	}
	for _, c := range ghosts {
		text, id := c.request("room:presence:join", `"roomId":"r","userData":"old"`)
		c.send(text)
		waiting = append(waiting, sent{c, id})
	}
	for _, s := range waiting {
		s.c.isRefusal(s.c.read(), s.id, "UnavailableError", 503, "unavailable")
	}
	olds := append([]*peer(nil), moved...)
	for i, c := range moved {
		moved[i] = c.back(p.n1)
		moved[i].updates("r", `"new"`)
	}
	for i, c := range ghosts { // they leave the room, or go
		g := c.back(p.n2)
		if i%2 == 0 {
			g.acked("room:leave", `"roomId":"r"`, `"localapp:r"`)
		}
		g.bye()
		eventually(t, g.name+" is gone", func() bool { return p.state(g) != "live" })
	}
	for _, c := range here { // given up, once
		leftAmong(observers, c, "node_lost")
	}
	wire.Release()
	for _, c := range here {
		for _, o := range observers {
			o.takeUntil(c.name+" is a member again", func() bool { return o.joined[c.id] == 2 })
		}
		eventually(t, c.name+" updates", func() bool {
			got, id := c.ask("room:presence:update", `"roomId":"r","userData":"awake"`)
			return got == ack(id, `"localapp:r:$:presence:update"`)
		})
	}
	for _, c := range olds { // still open, and of no effect
		c.refused("room:presence:update", `"roomId":"r","userData":"older"`, "UnavailableError", 503, "fenced")
	}
	for _, c := range ghosts { // taken, or held by nobody any more, whichever the node learns first
		text, id := c.request("room:presence:join", `"roomId":"r","userData":"older"`)
		_, _ = c.conn.Write(masked(ws.OpText, text)) // it may be closed already
		if got, open := <-c.frames; open {
			c.isRefusal(got, id, "UnavailableError", 503, "fenced")
		} else if c.code != 1013 {
			t.Errorf("%s: closed with %d, want 1013", c.name, c.code)
		}
	}
	want := p.listed(t, "r")
	if len(want) != len(here)+len(moved) {
		t.Errorf("Redis lists %v, want %d", want, len(here)+len(moved))
	}
	for _, o := range observers {
		o.sees(want)
		o.silent()
		if got := o.got("r"); !maps.Equal(got, want) {
			t.Errorf("%s: get lists %v, want %v", o.name, got, want)
		}
	}
	for _, c := range moved {
		stayed(observers, c)
		if want[c.id] != `"new"` {
			t.Errorf("%s has %s, want what was acknowledged", c.name, want[c.id])
		}
	}
	for _, o := range observers {
		for _, c := range ghosts {
			if o.joined[c.id] != o.left[c.id] {
				t.Errorf("%s: %s joined %d times and left %d times", o.name, c.name, o.joined[c.id], o.left[c.id])
			}
		}
	}
}
