package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"presencesets/scripts"
)

// A node that is killed between two steps of a departure loses nothing: what
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
