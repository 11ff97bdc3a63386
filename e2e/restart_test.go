package e2e

import (
	"strings"
	"testing"
)

// A Redis that comes back empty, at once: what is joined there before the next
// beat must not be a member for ever.
func TestNoGhostInARedisThatCameBackEmpty(t *testing.T) {
	p := startPair(t, unlimited...)
	c := enter(t, p.n1, "bob")
	c.enterRoom("r")
	p.redis.Restart(t)
	eventually(t, "a join is answered for good", func() bool {
		got, _ := c.ask("room:presence:join", `"roomId":"r"`)
		return !strings.Contains(got, `"err"`) || strings.Contains(got, `"fenced"`)
	})
	c.conn.Close()
	eventually(t, "nobody is left", func() bool { return len(p.members(t, "r")) == 0 })
}

// A connection that was opened before Redis lost everything is refused for
// ever, so it must be closed: its client then comes back and works.
func TestAFencedConnectionIsClosed(t *testing.T) {
	p := startPair(t, unlimited...)
	c := enter(t, p.n1, "bob")
	c.enterRoom("r")
	p.redis.Restart(t)
	eventually(t, "it works, or is closed", func() bool {
		return p.keys.HExists(t.Context(), "presence:{nodes}:registry", "n1.2").Val()
	})
	for range 3 {
		text, _ := c.request("room:presence:join", `"roomId":"r"`)
		if _, err := c.conn.Write(masked(1, text)); err != nil {
			return
		}
		got, open := <-c.frames
		if !open {
			return
		}
		if !strings.Contains(got, `"err"`) {
			return
		}
		t.Log(got)
	}
	t.Error("the socket stays open and every write is fenced")
}
