package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A room in which something happens all the time, and a subscriber whose socket
// changes meanwhile: between what it was told before and after there is no hole.

// revision is that of a presence event; 0 for any other frame.
func revision(t *testing.T, frame string) int64 {
	t.Helper()
	var e event
	if err := json.Unmarshal([]byte(frame), &e); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	return e.Body.Revision
}

func TestNothingIsMissedInABusyRoom(t *testing.T) {
	p := startPair(t, unlimited...)
	for name, to := range map[string]*node{"the same node": p.n1, "another node": p.n2} {
		for how, swap := range map[string]func(c *peer) (now *peer, rest []string){
			"lost, then back": func(c *peer) (*peer, []string) {
				c.conn.Close()
				var rest []string
				for f := range c.frames {
					rest = append(rest, f)
				}
				return c.back(to), rest
			},
			"taken over": func(c *peer) (*peer, []string) {
				now := c.back(to)
				// The old one's answer comes behind the last that it was told.
				text, id := c.request("room:presence:count", `"roomId":"busy"`)
				var rest []string
				c.send(text)
				for {
					got := c.read()
					if strings.Contains(got, `"ackId":"`+id+`"`) {
						if !strings.Contains(got, `"code":"fenced"`) {
							t.Errorf("the old socket got %s", got)
						}
						return now, rest
					}
					rest = append(rest, got)
				}
			},
		} {
			t.Run(how+", "+name, func(t *testing.T) { testBusy(t, p, swap) })
		}
	}
}

func testBusy(t *testing.T, p *pair, swap func(*peer) (*peer, []string)) {
	writers := []*peer{enter(t, p.n1, "w1"), enter(t, p.n2, "w2")}
	for _, w := range writers {
		w.joins("busy", "0")
	}
	bob := enter(t, p.n1, "bob")
	bob.watch("busy")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			for _, w := range writers {
				text, _ := w.request("room:presence:update", fmt.Sprintf(`"roomId":"busy","userData":%d`, i))
				if _, err := w.conn.Write(masked(1, text)); err != nil {
					t.Error(err)
					return
				}
			}
			for _, w := range writers {
				<-w.frames
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	last := int64(0)
	take := func(frame string) (repeated bool) {
		t.Helper()
		rev := revision(t, frame)
		if rev == 0 {
			return false
		}
		if last != 0 && rev > last+1 {
			t.Errorf("revision %d came after %d", rev, last)
		}
		if rev <= last {
			return true
		}
		last = rev
		return false
	}
	repeats := 0
	for range 5 {
		for range 50 {
			if take(bob.read()) {
				repeats++
			}
		}
		now, rest := swap(bob)
		for _, f := range rest {
			take(f)
		}
		bob = now
	}
	close(stop)
	<-stopped
	end := enter(t, p.n1, "end")
	end.joins("busy", "0")
	for done := false; !done; {
		got := bob.read()
		if take(got) {
			repeats++
		}
		done = strings.Contains(got, `"event":"join"`) && strings.Contains(got, end.id)
	}
	t.Logf("%d events came twice", repeats)
	for _, c := range append(writers, end, bob) {
		c.bye()
	}
	eventually(t, "the room is empty", func() bool { return len(p.members(t, "busy")) == 0 })
}
