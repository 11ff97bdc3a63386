package scripts

import (
	"fmt"
	"testing"
)

// detach begins the grace of conn, of 10 s, and returns the answer.
func (e *env) detach(conn string, inc int64, fence any, rooms ...any) any {
	e.t.Helper()
	return e.run("detach", []string{e.session(conn), e.grace(conn), e.shard("due")},
		append([]any{conn, inc, 10000, fence}, rooms...)...)
}

func TestDetachBeginsTheGrace(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "lobby", `p 0 {"bind":["a b"]}`, 9)
	e.track(bob, inc, "hall", "x 5 {}", 9)
	e.track(bob, inc, "stairs", "- 3 {}", 9)
	from := e.now()
	deadline := e.number("detach", e.detach(bob, inc, 0, "app1:lobby", "1795569466197665", "app1:hall", 17, "app1:nowhere", 18))
	e.within("deadline", deadline, from+10000, e.now()+10000)
	e.want("due", e.score(e.shard("due"), bob), deadline)
	e.want("grace key", e.must("GET", e.grace(bob)), fmt.Sprint(inc))
	e.want("its end", e.must("PEXPIRETIME", e.grace(bob)), deadline)
	want := sessionOf(inc, "room:app1:lobby", `p 1795569466197665 {"bind":["a b"]}`, "room:app1:hall", "x 17 {}",
		"room:app1:stairs", "- 3 {}", "due", fmt.Sprint(deadline))
	want["state"] = "grace"
	e.want("session", e.hash(e.session(bob)), want)
	e.want("index: until resume or finish", e.hash(e.index()), map[string]string{bob: fmt.Sprint(inc)})

	e.want("detach again", e.detach(bob, inc, far), int64(0))
	e.want("session", e.hash(e.session(bob)), want)
}

func TestDetachRemembersUntilWhenAnOperationMayStillLand(t *testing.T) {
	for _, c := range []struct{ name, old, given, want string }{
		{"no fence", "", "0", ""},
		{"a fence", "", "1795569466197", "1795569466197"},
		{"a later fence", "1795569466197", "1795569466198", "1795569466198"},
		{"an earlier fence", "1795569466197", "1795569466196", "1795569466197"},
		{"no fence where there was one", "1795569466197", "0", "1795569466197"},
	} {
		e := newEnv(t)
		inc := e.open(bob)
		if c.old != "" {
			e.must("HSET", e.session(bob), "fence", c.old)
		}
		e.number(c.name, e.detach(bob, inc, c.given))
		e.want(c.name, e.hash(e.session(bob))["fence"], c.want)
	}
}

func TestDetachWithoutGraceIsDueAtOnce(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	deadline := e.number("detach", e.run("detach", []string{e.session(bob), e.grace(bob), e.shard("due")}, bob, inc, 0, 0))
	e.want("due", e.score(e.shard("due"), bob), deadline)
	e.want("grace key", e.must("EXISTS", e.grace(bob)), int64(0))
	_, got := e.claim(bob)
	e.want("claim", len(got), 1)
}

func TestDetachIsRefused(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	before := e.hash(e.session(bob))
	e.want("older incarnation", e.detach(bob, inc-1, 0), int64(0))
	e.want("newer incarnation", e.detach(bob, inc+1, 0), int64(0))
	e.want("no session", e.detach(eve, inc, 0), int64(0))
	e.must("SET", e.session(eve), "x")
	e.want("session of another type", e.detach(eve, inc, 0), "BROKEN")
	e.must("HSET", e.session(bob), "fence", "x")
	e.want("wrong fence", e.detach(bob, inc, 0), "BROKEN")
	e.must("HDEL", e.session(bob), "fence")
	e.must("SET", e.shard("due"), "x")
	e.want("due of another type", e.detach(bob, inc, 0), "BROKEN")
	e.want("session", e.hash(e.session(bob)), before)
	e.must("DEL", e.shard("due"))
	for _, state := range []string{"grace", "leaving", "away", "held"} {
		e.must("HSET", e.session(bob), "state", state)
		e.want("state "+state, e.detach(bob, inc, 0), int64(0))
	}
	e.want("due, grace", e.must("EXISTS", e.shard("due"), e.grace(bob)), int64(0))
}
