package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// What clients of a node and observers of another see when the node dies, is
// stopped, or sleeps.

// crowd are members of "r" on n, and known to all observers.
func crowd(t *testing.T, p *pair, n *node, name string, count int, observers []*audience) (list []*peer) {
	t.Helper()
	for i := range count {
		c := enter(t, n, fmt.Sprintf("%s%d", name, i))
		c.joins("r", "0")
		list = append(list, c)
	}
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
		o.silent()
	}
	return list
}

func TestAKilledNodesClientsAreResumedOrLeaveOnce(t *testing.T) {
	p := startPair(t, unlimited...)
	n3 := startNode(t, "n3", p.redis.Addr(), unlimited...)
	observers := []*audience{watching(t, p.n2, "o2", "r"), watching(t, n3, "o3", "r")}
	back := crowd(t, p, p.n1, "back", 20, observers)
	gone := crowd(t, p, p.n1, "gone", 20, observers)
	stays := crowd(t, p, p.n2, "stays", 5, observers)
	p.n1.Kill()
	for i, c := range back { // before anybody has noticed
		c.ended()
		back[i] = c.back([]*node{p.n2, n3}[i%2])
	}
	for _, c := range gone {
		for _, o := range observers {
			o.takeUntil(c.name+" has left", func() bool { return o.left[c.id] > 0 })
		}
	}
	for _, c := range back {
		c.updates("r", "1")
	}
	want := p.listed(t, "r")
	if len(want) != len(back)+len(stays) {
		t.Errorf("Redis lists %d, want %d", len(want), len(back)+len(stays))
	}
	for _, o := range observers {
		o.sees(want)
		o.silent()
		for _, c := range gone {
			if o.left[c.id] != 1 || o.reasons[c.id] != "node_lost" {
				t.Errorf("%s: %s left %d times (%s), want once, node_lost", o.name, c.name, o.left[c.id], o.reasons[c.id])
			}
		}
		for _, c := range append(back, stays...) {
			if o.left[c.id] != 0 || o.joined[c.id] != 1 {
				t.Errorf("%s: %s joined %d times and left %d times (%s)", o.name, c.name, o.joined[c.id], o.left[c.id], o.reasons[c.id])
			}
		}
	}
	eventually(t, "nothing of the dead node is left", func() bool {
		left, err := p.keys.Keys(t.Context(), "presence:{c*}:node:n1.1").Result()
		return err == nil && len(left) == 0 && !p.keys.HExists(t.Context(), "presence:{nodes}:registry", "n1.1").Val() &&
			!p.keys.HExists(t.Context(), "presence:{nodes}:reaping", "n1.1").Val()
	})
}

// drained has a node stop, and its clients come back as the public client does.
func drained(t *testing.T, stop *node, clients []*peer, to ...*node) {
	t.Helper()
	if err := syscall.Kill(stop.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if code := c.ended(); code != 1001 {
			t.Errorf("%s: closed with %d, want 1001", c.name, code)
		}
	}
	for i, c := range clients {
		if i == 0 {
			clients[i] = c.likeSDK(to...) // the others have waited as long
		} else {
			clients[i] = c.back(to[i%len(to)])
		}
	}
}

func TestWhoIsSentAwayByAStoppingNodeIsNotMissed(t *testing.T) {
	p := startPair(t, unlimited...)
	observer := []*audience{watching(t, p.n2, "o2", "r")}
	moved := crowd(t, p, p.n1, "c", 30, observer)
	traveller := watching(t, p.n1, "traveller", "r")
	seen := enter(t, p.n2, "seen")
	traveller.takeWhat(t)
	drained(t, p.n1, moved, p.n2)
	traveller.ended()
	seen.joins("r", `"while it travelled"`)
	traveller.peer = traveller.back(p.n2)
	traveller.takeUntil("what it missed", func() bool { return traveller.joined[seen.id] == 1 })
	for _, c := range moved {
		stayed(observer, c)
	}
	for _, c := range moved {
		c.updates("r", "1")
	}
	observer[0].sees(p.listed(t, "r"))
	p.n1.Stop(patience)
	for _, c := range moved {
		stayed(observer, c)
		c.bye()
		observer[0].takeUntil(c.name+" has left", func() bool { return observer[0].left[c.id] == 1 })
	}
}

// Both nodes are replaced, one after the other, under clients that come back.
func TestARollingRestartIsSeenByNobody(t *testing.T) {
	p := startPair(t, unlimited...)
	n3 := startNode(t, "n3", p.redis.Addr(), unlimited...) // nothing happens to it
	observer := watching(t, n3, "o3", "r")
	here := append(crowd(t, p, p.n1, "a", 10, []*audience{observer}), crowd(t, p, p.n2, "b", 10, []*audience{observer})...)
	nodes := []*node{p.n1, p.n2}
	for i, id := range []string{"n1", "n2"} {
		var on []*peer
		for _, c := range here {
			if c.conn.RemoteAddr().String() == nodes[i].client {
				on = append(on, c)
			}
		}
		if len(on) == 0 {
			t.Fatalf("%s has no client", id)
		}
		drained(t, nodes[i], on, nodes[1-i])
		moved := map[string]*peer{}
		for _, c := range on {
			moved[c.id] = c
		}
		for j, c := range here {
			if m := moved[c.id]; m != nil {
				here[j] = m
			}
		}
		nodes[i].Stop(patience)
		nodes[i] = startNode(t, id, p.redis.Addr(), unlimited...)
	}
	for _, c := range here {
		c.updates("r", "1")
	}
	want := p.listed(t, "r")
	if len(want) != len(here) {
		t.Errorf("Redis lists %d, want %d", len(want), len(here))
	}
	observer.sees(want)
	observer.silent()
	for _, c := range here {
		stayed([]*audience{observer}, c)
	}
}

// SIGINT closes at once. Whoever comes back in time is not missed.
func TestANodeThatIsInterruptedKeepsMembershipsForTheGrace(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := []*audience{watching(t, p.n2, "o2", "r")}
	back, gone := crowd(t, p, p.n1, "back", 10, observers), crowd(t, p, p.n1, "gone", 10, observers)
	if err := syscall.Kill(p.n1.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for i, c := range back {
		c.ended()
		back[i] = c.back(p.n2)
	}
	for _, c := range gone {
		leftAmong(observers, c, "timeout")
	}
	for _, c := range back {
		c.updates("r", "1")
	}
	observers[0].sees(p.listed(t, "r"))
	for _, c := range back {
		stayed(observers, c)
	}
}

// A node that sleeps for three leases was given up: its clients are reported
// gone, once. When it wakes, those that are still connected are members again,
// and nothing that it had in hand is done in their old name.
func TestANodeThatSleepsForThreeLeases(t *testing.T) {
	p := startPair(t, unlimited...)
	observer := watching(t, p.n2, "o2", "r")
	audiences := []*audience{observer}
	here := crowd(t, p, p.n1, "here", 10, audiences)
	moved := crowd(t, p, p.n1, "moved", 5, audiences)
	gone := crowd(t, p, p.n1, "gone", 5, audiences)
	steady := crowd(t, p, p.n2, "steady", 5, audiences)
	if err := syscall.Kill(p.n1.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awake := false
	wake := func() {
		if !awake {
			awake = true
			if err := syscall.Kill(p.n1.PID(), syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(wake)
	// What its clients send now waits in its sockets.
	for _, c := range moved {
		text, _ := c.request("room:presence:update", `"roomId":"r","userData":"old"`)
		c.send(text)
	}
	for _, c := range gone {
		text, _ := c.request("room:presence:join", `"roomId":"r","userData":"old"`)
		c.send(text)
		c.conn.Close()
	}
	olds := append([]*peer(nil), moved...)
	for i, c := range moved { // these have found another node
		moved[i] = c.back(p.n2)
		moved[i].updates("r", `"new"`)
	}
	for _, c := range append(append([]*peer(nil), here...), gone...) {
		observer.takeUntil(c.name+" is given up", func() bool { return observer.left[c.id] == 1 })
		if observer.reasons[c.id] != "node_lost" {
			t.Errorf("%s left for %q", c.name, observer.reasons[c.id])
		}
	}
	observer.silent()
	wake()
	for _, c := range here {
		observer.takeUntil(c.name+" is a member again", func() bool { return observer.joined[c.id] == 2 })
	}
	for _, c := range here {
		eventually(t, c.name+" updates", func() bool {
			got, id := c.ask("room:presence:update", `"roomId":"r","userData":"awake"`)
			return got == ack(id, `"localapp:r:$:presence:update"`)
		})
	}
	for _, c := range olds { // refused if anything; no event comes to it
		got, id := c.ask("room:presence:update", `"roomId":"r","userData":"older"`)
		for !strings.Contains(got, `"ackId":"`+id+`"`) {
			if !strings.Contains(got, `"err":{"name":"UnavailableError"`) {
				t.Errorf("%s: the old socket got %s", c.name, got)
			}
			got = c.read()
		}
		c.isRefusal(got, id, "UnavailableError", 503, "fenced")
	}
	await(t, p.n1.Process, func() bool { return p.n1.ready() == http.StatusOK })
	eventually(t, "who has gone is not there", func() bool {
		list := p.listed(t, "r")
		for _, c := range gone {
			if _, there := list[c.id]; there {
				return false
			}
		}
		return len(list) == len(here)+len(moved)+len(steady)
	})
	want := p.listed(t, "r")
	for _, c := range moved {
		if want[c.id] != `"new"` {
			t.Errorf("%s has %s, want what it sent last", c.name, want[c.id])
		}
	}
	observer.sees(want)
	observer.silent()
	if got := observer.got("r"); !maps.Equal(got, want) {
		t.Errorf("get lists %v, want %v", got, want)
	}
	for _, c := range append(moved, steady...) {
		if observer.left[c.id] != 0 || observer.joined[c.id] != 1 {
			t.Errorf("%s joined %d times and left %d times (%s)", c.name, observer.joined[c.id], observer.left[c.id], observer.reasons[c.id])
		}
	}
	for _, c := range here {
		if observer.left[c.id] != 1 || observer.joined[c.id] != 2 {
			t.Errorf("%s joined %d times and left %d times (%s)", c.name, observer.joined[c.id], observer.left[c.id], observer.reasons[c.id])
		}
	}
}

// Whoever watched through a node that is gone is told who came meanwhile.
func TestASubscriberOfAKilledNodeIsToldWhoCame(t *testing.T) {
	p := startPair(t, unlimited...)
	for hosted, name := range map[bool]string{true: "watched there", false: "not watched there"} {
		room := "r"
		if hosted {
			room = "h"
			watching(t, p.n2, "o2", room)
		}
		n := startNode(t, "x"+room, p.redis.Addr(), unlimited...)
		traveller := watching(t, n, "traveller", room)
		before, came := enter(t, p.n2, "before"), enter(t, p.n2, "came")
		before.joins(room, "1")
		traveller.takeUntil("who was there", func() bool { return traveller.joined[before.id] == 1 })
		n.Kill()
		traveller.ended()
		came.joins(room, "2")
		traveller.peer = traveller.back(p.n2)
		traveller.gaps, traveller.again = true, true
		traveller.takeWhat(t)
		if traveller.joined[came.id] != 1 || traveller.joined[before.id] == 0 || len(traveller.left) != 0 {
			t.Errorf("%s: told of joins %v and leaves %v, want one of %s (who was there: %s)", name, traveller.joined, traveller.left, came.id, before.id)
		}
		came.updates(room, "3")
		traveller.sees(p.listed(t, room))
	}
}
