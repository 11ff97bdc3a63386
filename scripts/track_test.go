package scripts

import (
	"fmt"
	"testing"
)

// track lists a room and returns the answer.
func (e *env) track(conn string, inc int64, room, value string, max int) any {
	e.t.Helper()
	return e.run("track", []string{e.session(conn)}, inc, far, "app1:"+room, value, max)
}

func TestTrackListsAndReplacesARoom(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.want("track", e.track(bob, inc, "lobby", "- 0 {}", 100), int64(1))
	e.want("track again", e.track(bob, inc, "lobby", `p 0 {"presence":["join"]}`, 100), int64(1))
	e.want("session", e.hash(e.session(bob)), sessionOf(inc, "room:app1:lobby", `p 0 {"presence":["join"]}`))
}

func TestTrackCountsRoomsOnly(t *testing.T) {
	for _, more := range [][]any{nil, {"secret", "c0ffee"}, {"fence", "5"}, {"secret", "c0ffee", "fence", "5"}} {
		e := newEnv(t)
		inc := e.open(bob)
		if more != nil {
			e.must(append([]any{"HSET", e.session(bob)}, more...)...)
		}
		name := fmt.Sprint("session with ", more)
		e.want(name+": first room", e.track(bob, inc, "a", "p 0 {}", 2), int64(1))
		e.want(name+": second room", e.track(bob, inc, "b", "p 0 {}", 2), int64(1))
		e.want(name+": third room", e.track(bob, inc, "c", "p 0 {}", 2), "FULL")
		e.want(name+": a room that is listed", e.track(bob, inc, "b", "- 0 {}", 2), int64(1))
		e.want(name+": no limit", e.track(bob, inc, "c", "p 0 {}", 0), int64(1))
	}
}

func TestTrackIsRefused(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	before := e.hash(e.session(bob))
	e.want("older incarnation", e.track(bob, inc-1, "lobby", "p 0 {}", 9), "FENCED inc")
	e.want("newer incarnation", e.track(bob, inc+1, "lobby", "p 0 {}", 9), "FENCED inc")
	e.want("no session", e.track(eve, inc, "lobby", "p 0 {}", 9), "FENCED inc")
	e.want("lease over", e.run("track", []string{e.session(bob)}, inc, past, "app1:lobby", "p 0 {}", 9), refused("FENCED lease"))
	e.want("session", e.hash(e.session(bob)), before)
	e.want("no session was made", e.must("EXISTS", e.session(eve)), int64(0))

	e.must("SET", e.session(eve), "x")
	e.want("wrong type", e.track(eve, inc, "lobby", "p 0 {}", 9), "BROKEN")
	for _, state := range []string{"grace", "leaving", "away", "held"} {
		e.must("HSET", e.session(bob), "state", state)
		e.want("state "+state, e.track(bob, inc, "lobby", "p 0 {}", 9), "FENCED inc")
	}
}
