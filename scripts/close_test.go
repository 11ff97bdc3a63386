package scripts

import (
	"fmt"
	"testing"
)

// close begins the end of conn and returns the answer.
func (e *env) close(conn string, inc int64, why string, fence any) any {
	e.t.Helper()
	return e.run("close", []string{e.session(conn), e.grace(conn), e.shard("due")}, conn, inc, 5000, why, fence)
}

// fields is a reply like HGETALL's as a map.
func (e *env) fields(doing string, reply any) map[string]string {
	e.t.Helper()
	l, ok := reply.([]any)
	if !ok || len(l)%2 != 0 {
		e.t.Fatalf("%s answered %#v, want fields and values", doing, reply)
	}
	m := map[string]string{}
	for i := 0; i < len(l); i += 2 {
		m[fmt.Sprint(l[i])] = fmt.Sprint(l[i+1])
	}
	return m
}

func TestCloseListsTheConnectionAsDueAndReturnsItsRooms(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.track(bob, inc, "lobby", "p 0 {}", 9)
	from := e.now()
	got := e.fields("close", e.close(bob, inc, "closed", 0))
	e.within("deadline", e.score(e.shard("due"), bob), from+5000, e.now()+5000)
	want := sessionOf(inc, "room:app1:lobby", "p 0 {}", "why", "closed")
	want["state"] = "leaving"
	e.want("fields", got, want)
	e.want("session", e.hash(e.session(bob)), want)
	e.want("index: until finish", e.hash(e.index()), map[string]string{bob: fmt.Sprint(inc)})

	deadline := e.score(e.shard("due"), bob)
	e.want("close after an answer that was lost", e.fields("close", e.close(bob, inc, "timeout", far)), want)
	e.want("its deadline", e.score(e.shard("due"), bob), deadline)
}

func TestCloseRemembersUntilWhenAnOperationMayStillLand(t *testing.T) {
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
		e.want(c.name, e.fields("close", e.close(bob, inc, "timeout", c.given))["fence"], c.want)
	}
}

func TestCloseOfAHeldPresence(t *testing.T) {
	e := newEnv(t)
	e.must("HSET", e.session(bob), "inc", 7, "state", "held")
	e.must("ZADD", e.shard("due"), far, bob)
	e.want("close", e.fields("close", e.close(bob, 7, "closed", 0)),
		map[string]string{"inc": "7", "state": "leaving", "why": "closed"})
}

func TestCloseIsRefused(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	before := e.hash(e.session(bob))
	e.want("older incarnation", e.close(bob, inc-1, "closed", 0), list())
	e.want("newer incarnation", e.close(bob, inc+1, "closed", 0), list())
	e.want("no session", e.close(eve, inc, "closed", 0), list())
	e.want("session", e.hash(e.session(bob)), before)
	e.want("due", e.must("EXISTS", e.shard("due")), int64(0))

	e.must("SET", e.session(eve), "x")
	e.want("session of another type", e.close(eve, inc, "closed", 0), "BROKEN")
	e.must("HSET", e.session(bob), "fence", "x")
	e.want("wrong fence", e.close(bob, inc, "closed", 0), "BROKEN")
	e.must("HDEL", e.session(bob), "fence")
	e.must("SET", e.shard("due"), "x")
	e.want("due of another type", e.close(bob, inc, "closed", 0), "BROKEN")
	e.want("session", e.hash(e.session(bob)), before)
	e.must("DEL", e.shard("due"))

	for _, state := range []string{"grace", "away"} {
		e.must("HSET", e.session(bob), "state", state)
		e.want("state "+state, e.close(bob, inc, "closed", 0), list())
	}
	e.want("due", e.must("EXISTS", e.shard("due")), int64(0))
}
