package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// A Redis that comes back empty. What it had said to clients is made true again
// by the nodes that hold them: no client does anything for it.

// What is joined in an empty Redis at once, before the next beat, must not be a
// member for ever.
func TestNoGhostInARedisThatCameBackEmpty(t *testing.T) {
	p := startPair(t, unlimited...)
	c := enter(t, p.n1, "bob")
	c.enterRoom("r")
	p.redis.Restart(t)
	eventually(t, "a join is answered for good", func() bool {
		got, _ := c.ask("room:presence:join", `"roomId":"r"`)
		return !strings.Contains(got, `"err"`)
	})
	c.conn.Close()
	eventually(t, "nobody is left", func() bool { return len(p.members(t, "r")) == 0 })
}

func TestAnEmptyRedisIsFilledAgain(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := []*audience{watching(t, p.n1, "o1", "r0"), watching(t, p.n2, "o2", "r0")}
	const clients, rooms = 20, 3
	var here []*peer
	for i := range clients {
		c := enter(t, []*node{p.n1, p.n2}[i%2], fmt.Sprintf("c%d", i))
		for r := range rooms {
			c.enterRoom(fmt.Sprintf("r%d", r))
			c.acked("room:presence:join", fmt.Sprintf(`"roomId":"r%d","userData":%d`, r, i), fmt.Sprintf(`"localapp:r%d:$:presence:join"`, r))
		}
		c.acked("room:presence:update", `"roomId":"r1","userData":"new"`, `"localapp:r1:$:presence:update"`)
		c.acked("room:presence:leave", `"roomId":"r2"`, `"localapp:r2:$:presence:leave"`) // stays in the room
		here = append(here, c)
	}
	quiet := enter(t, p.n2, "quiet") // in rooms, a member of nothing
	quiet.enterRoom("r1")
	before := map[string]map[string]string{}
	for r := range rooms {
		before[fmt.Sprintf("r%d", r)] = p.listed(t, fmt.Sprintf("r%d", r))
	}
	for _, o := range observers {
		o.sees(before["r0"])
		o.silent()
		o.gaps = true
	}
	pids := []int{p.n1.PID(), p.n2.PID()}
	p.redis.Restart(t)
	for room, want := range before {
		eventually(t, room+" holds who was there", func() bool { return maps.Equal(p.listed(t, room), want) })
	}
	fresh := watching(t, p.n2, "fresh", "r0")
	if got := fresh.got("r0"); !maps.Equal(got, before["r0"]) {
		t.Errorf("a new client is told of %v, want %v", got, before["r0"])
	}
	// The same sockets go on, and can do all they could.
	for i, c := range here {
		want := `"localapp:r0:$:presence:update"`
		eventually(t, c.name+" updates", func() bool {
			got, id := c.ask("room:presence:update", fmt.Sprintf(`"roomId":"r0","userData":"%d again"`, i))
			return got == ack(id, want)
		})
	}
	want := p.listed(t, "r0")
	if len(want) != clients {
		t.Errorf("Redis lists %d, want %d", len(want), clients)
	}
	for _, o := range observers {
		o.sees(want)
		for _, c := range here {
			if o.left[c.id] > 0 || o.joined[c.id] != 1 {
				t.Errorf("%s: %s joined %d times and left %d times (%s)", o.name, c.name, o.joined[c.id], o.left[c.id], o.reasons[c.id])
			}
		}
		o.silent()
	}
	quiet.acked("room:presence:join", `"roomId":"r1"`, `"localapp:r1:$:presence:join"`)
	for i, n := range []*node{p.n1, p.n2} {
		if n.PID() != pids[i] || n.ready() != 200 {
			t.Errorf("node %d is not what it was", i+1)
		}
	}
	for _, c := range append(here, quiet) {
		c.bye()
	}
	for _, o := range observers {
		o.sees(map[string]string{})
	}
	for room := range before {
		eventually(t, room+" is empty", func() bool { return len(p.members(t, room)) == 0 })
	}
}
