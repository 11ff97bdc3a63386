package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gobwas/ws"

	"presencesets/scripts"
)

// Nodes that die, sleep and stop. One that is killed between two steps of a departure loses nothing: what
// it has begun is in the due list, and the other node finishes it.

func TestANodeKilledInTheMiddleOfDeparturesLosesNone(t *testing.T) {
	p := startPair(t, unlimited...)
	const clients, rooms = 100, 5
	var observers []*audience
	for r := range rooms {
		observers = append(observers, watching(t, p.n2, "o"+strconv.Itoa(r), "r"+strconv.Itoa(r)))
	}
	var going []*peer
	for i := range clients {
		c := enter(t, p.n1, "c"+strconv.Itoa(i))
		for r := range rooms {
			c.enterRoom("r" + strconv.Itoa(r))
			c.acked("room:presence:join", fmt.Sprintf(`"roomId":"r%d","userData":%d`, r, i), fmt.Sprintf(`"localapp:r%d:$:presence:join"`, r))
		}
		going = append(going, c)
	}
	for _, o := range observers {
		o.takeUntil("all have joined", func() bool { return len(o.known) == clients })
	}

	for _, c := range going {
		c.write(masked(ws.OpClose, "\x03\xe8"))
	}
	observers[0].takeUntil("the first leave", func() bool { return len(observers[0].known) < clients })
	p.n1.Kill()
	// What the node did not come to begin is begun here, as its next step
	// would have: from then on nobody but the due list knows of it.
	closed := 0
	for _, c := range going {
		shard := "presence:{c" + c.key()[:2] + "}:"
		session := shard + "session:" + c.key()
		live, err := p.keys.HMGet(t.Context(), session, "state", "inc").Result()
		if err != nil {
			t.Fatal(err)
		}
		if live[0] != "live" {
			continue
		}
		closed++
		keys := []string{session, shard + "grace:" + c.key(), shard + "due"}
		if err := p.keys.EvalSha(t.Context(), scripts.Get("close").SHA, keys, c.key(), live[1], 5000, "closed", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	left := 0
	for r := range rooms {
		left += clients - len(p.members(t, "r"+strconv.Itoa(r)))
	}
	t.Logf("killed when %d of %d memberships had ended and %d of %d departures were not begun", left, clients*rooms, closed, clients)

	for _, o := range observers {
		o.takeUntil("all have left", func() bool { return len(o.known) == 0 })
		for _, c := range going {
			if o.joined[c.id] != 1 || o.left[c.id] != 1 || o.reasons[c.id] != "closed" {
				t.Errorf("%s: %s joined %d times and left %d times, at last for %q", o.name, c.name, o.joined[c.id], o.left[c.id], o.reasons[c.id])
			}
		}
		if m := p.members(t, o.room); len(m) != 0 {
			t.Errorf("%s: Redis lists %v", o.room, m)
		}
	}
	eventually(t, "no session and no deadline of theirs is left", func() bool {
		for _, pattern := range []string{"presence:{c*}:session:*", "presence:{c*}:due", "presence:{c*}:node:n1.*"} {
			keys, err := p.keys.Keys(t.Context(), pattern).Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				if !strings.Contains(pattern, "session") || !isOf(key, observers) {
					return false
				}
			}
		}
		return true
	})
	for _, o := range observers {
		o.silent()
	}
}

// isOf reports whether a session's key is that of an observer.
func isOf(key string, observers []*audience) bool {
	for _, o := range observers {
		if strings.HasSuffix(key, o.key()) {
			return true
		}
	}
	return false
}

func TestANodeThatSleepsPastItsLeaseGoesOn(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := []*audience{watching(t, p.n1, "o1", "r"), watching(t, p.n2, "o2", "r")}
	var here []*peer
	for i, n := range []*node{p.n1, p.n2} {
		c := enter(t, n, "c"+strconv.Itoa(i))
		c.enterRoom("r")
		c.acked("room:presence:join", `"roomId":"r","userData":0`, `"localapp:r:$:presence:join"`)
		here = append(here, c)
	}
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
	}
	gone := enter(t, p.n1, "gone")
	gone.enterRoom("r")
	gone.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
	if err := syscall.Kill(p.n1.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	gone.conn.Close()
	here[1].acked("room:presence:update", `"roomId":"r","userData":1`, `"localapp:r:$:presence:update"`)
	lease := "presence:{nodes}:lease:n1.1"
	eventually(t, "the lease of n1 has ended", func() bool { return p.keys.Exists(t.Context(), lease).Val() == 0 })
	if err := syscall.Kill(p.n1.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n1 writes again", func() bool {
		got, id := here[0].ask("room:presence:update", `"roomId":"r","userData":2`)
		if got != ack(id, `"localapp:r:$:presence:update"`) {
			here[0].isRefusal(got, id, "UnavailableError", 503, "unavailable")
			return false
		}
		return true
	})
	eventually(t, "who went meanwhile has left", func() bool { return len(p.members(t, "r")) == 2 })
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
		if o.left[gone.id] != 1 || o.left[here[0].id]+o.left[here[1].id] != 0 {
			t.Errorf("%s: told of leaves %v", o.name, o.left)
		}
		o.silent()
	}
}

func TestANodeThatIsStoppedLeavesNobodyBehind(t *testing.T) {
	p := startPair(t, forgetful...)
	o := watching(t, p.n2, "o", "r")
	var here []*peer
	for i := range 50 {
		c := enter(t, p.n1, "c"+strconv.Itoa(i))
		c.enterRoom("r")
		c.acked("room:presence:join", `"roomId":"r","userData":0`, `"localapp:r:$:presence:join"`)
		here = append(here, c)
	}
	o.sees(p.listed(t, "r"))
	p.n1.Stop(patience)
	o.sees(map[string]string{})
	for _, c := range here {
		if o.left[c.id] != 1 || o.reasons[c.id] != "timeout" {
			t.Errorf("%s left %d times, at last for %q", c.name, o.left[c.id], o.reasons[c.id])
		}
		if code := c.ended(); code != 1001 {
			t.Errorf("%s: closed with %d, want 1001", c.name, code)
		}
	}
	o.bye()
	eventually(t, "no key is left", func() bool { return p.size(t) == 0 })
}
