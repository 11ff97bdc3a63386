package scripts

import "testing"

// untrack forgets a room, or with "" a fence, and returns the answer.
func (e *env) untrack(conn string, inc int64, room string) any {
	e.t.Helper()
	if room != "" {
		room = "app1:" + room
	}
	return e.run("untrack", []string{e.session(conn)}, inc, room)
}

func TestUntrackForgetsARoom(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "lobby", "p 0 {}", 9)
	e.track(bob, inc, "hall", "p 0 {}", 9)
	e.want("untrack", e.untrack(bob, inc, "lobby"), int64(1))
	e.want("untrack again", e.untrack(bob, inc, "lobby"), int64(1))
	e.want("untrack in time", e.run("untrack", []string{e.session(bob)}, inc, "app1:lobby", far), int64(1))
	e.want("untrack of a fence that is not there", e.untrack(bob, inc, ""), int64(1))
	e.want("session", e.hash(e.session(bob)), sessionOf(inc, "room:app1:hall", "p 0 {}"))
}

func TestUntrackForgetsNoRoomBeforeTheFence(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "lobby", `p 17 {"bind":["moved"]}`, 9)
	e.must("HSET", e.session(bob), "fence", far)
	e.want("untrack", e.untrack(bob, inc, "lobby"), "LATER")
	e.want("untrack again", e.untrack(bob, inc, "lobby"), "LATER")
	e.want("untrack of a room that is not listed", e.untrack(bob, inc, "hall"), "LATER")
	e.want("untrack of the fence", e.untrack(bob, inc, ""), "LATER")
	e.want("session", e.hash(e.session(bob)),
		sessionOf(inc, "room:app1:lobby", `x 17 {"bind":["moved"]}`, "fence", far))

	e.must("HSET", e.session(bob), "fence", e.now()-1)
	e.want("untrack after the fence, of a leave that may be from before it", e.untrack(bob, inc, "lobby"), "LATER")
	e.want("untrack of the sweep", e.run("untrack", []string{e.session(bob)}, inc, "app1:lobby", "", "x"), int64(1))
	e.want("untrack of the fence after it", e.untrack(bob, inc, ""), int64(1))
	e.want("session", e.hash(e.session(bob)), sessionOf(inc))
}

// The sweep at the fence removes what was left before it, and not what was
// tracked again since.
func TestUntrackOfARoomWithFlagXOnly(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "left", "x 0 {}", 9)
	e.track(bob, inc, "again", "p 0 {}", 9)
	e.track(bob, inc, "sub", `- 0 {"bind":["x"]}`, 9)
	sweep := func(room string) any {
		return e.run("untrack", []string{e.session(bob)}, inc, "app1:"+room, "", "x")
	}
	before := e.hash(e.session(bob))
	e.must("HSET", e.session(bob), "fence", far)
	e.want("before the fence", sweep("left"), "LATER")
	e.want("before the fence, tracked again", sweep("again"), int64(1))
	e.must("HDEL", e.session(bob), "fence")
	e.want("session", e.hash(e.session(bob)), before)

	for _, room := range []string{"left", "again", "sub", "nowhere"} {
		e.want("room "+room, sweep(room), int64(1))
	}
	e.want("session", e.hash(e.session(bob)), sessionOf(inc, "room:app1:again", "p 0 {}", "room:app1:sub", `- 0 {"bind":["x"]}`))
	e.must("HSET", e.session(bob), "fence", 5)
	e.want("a fence that is over", e.run("untrack", []string{e.session(bob)}, inc, "", "", "x"), int64(1))
	e.want("fence", e.hash(e.session(bob))["fence"], "")
	e.want("too late", e.run("untrack", []string{e.session(bob)}, inc, "app1:again", past, "x"), refused("FENCED lease"))
}

// Whoever ends a session must find its fence, although a sweep of the one who
// had it is still on its way.
func TestUntrackOfTheFenceOfASessionThatEnds(t *testing.T) {
	for _, state := range []string{"grace", "leaving", "away"} {
		e := newEnv(t)
		inc := e.open(bob)
		e.track(bob, inc, "lobby", "x 0 {}", 9)
		e.must("HSET", e.session(bob), "fence", 5, "state", state)
		e.want(state+": fence", e.untrack(bob, inc, ""), "FENCED inc")
		e.want(state+": session", e.hash(e.session(bob))["fence"], "5")
		e.want(state+": room", e.run("untrack", []string{e.session(bob)}, inc, "app1:lobby", "", "x"), int64(1))
	}
}

func TestUntrackIsRefused(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "lobby", "p 0 {}", 9)
	before := e.hash(e.session(bob))
	e.want("older incarnation", e.untrack(bob, inc-1, "lobby"), "FENCED inc")
	e.want("newer incarnation", e.untrack(bob, inc+1, "lobby"), "FENCED inc")
	e.want("no session", e.untrack(eve, inc, "lobby"), "FENCED inc")
	e.want("too late", e.run("untrack", []string{e.session(bob)}, inc, "app1:lobby", past), refused("FENCED lease"))
	e.want("session", e.hash(e.session(bob)), before)
	e.must("SET", e.session(eve), "x")
	e.want("wrong type", e.untrack(eve, inc, "lobby"), "BROKEN")
	e.must("HSET", e.session(bob), "fence", "x")
	e.want("wrong fence", e.untrack(bob, inc, "lobby"), "BROKEN")
}
