package scripts

import (
	"fmt"
	"testing"
)

// open makes the session of conn as the node would, and returns its inc.
func (e *env) open(conn string) int64 {
	e.t.Helper()
	return e.number("open", e.run("open", []string{e.session(conn), e.index()},
		conn, 0, stamp, "app1", "app1.k1", "123", 10000, "", far))
}

// sessionOf is a session as open makes it, with further fields.
func sessionOf(inc int64, more ...string) map[string]string {
	m := map[string]string{
		"app": "app1", "key": "app1.k1", "client": "123", "node": stamp,
		"inc": fmt.Sprint(inc), "from": fmt.Sprint(inc), "state": "live", "grace": "10000",
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func TestOpenMakesASessionWithAnIncFromRedisClock(t *testing.T) {
	e := newEnv(t)
	from := e.now()
	inc := e.open(bob)
	e.within("inc", inc, from, e.now())
	e.want("session", e.hash(e.session(bob)), sessionOf(inc))
	e.want("index", e.hash(e.index()), map[string]string{bob: fmt.Sprint(inc)})
	e.want("TTL: none", e.must("PTTL", e.session(bob)), int64(-1))

	e.want("open again", e.run("open", []string{e.session(bob), e.index()},
		bob, 0, "n2.1", "app2", "app2.k1", "456", 1, "", far), "EXISTS")
	e.want("session", e.hash(e.session(bob)), sessionOf(inc))
}

func TestOpenTakesAHigherIncAndASecret(t *testing.T) {
	e := newEnv(t)
	const inc = int64(9007199254740991) // 2^53 - 1: no digit may be lost
	e.want("open", e.run("open", []string{e.session(bob), e.index()},
		bob, inc, stamp, "app1", "app1.k1", "", 10000, "c0ffee", far), inc)
	want := sessionOf(inc, "secret", "c0ffee")
	want["client"] = ""
	e.want("session", e.hash(e.session(bob)), want)
}

func TestOpenIsRefused(t *testing.T) {
	e := newEnv(t)
	args := []any{bob, 0, stamp, "app1", "app1.k1", "123", 10000, ""}
	e.want("open after the lease", e.run("open", []string{e.session(bob), e.index()}, append(args, past)...), refused("FENCED lease"))
	e.must("SET", e.shard("text"), "x")
	e.want("session of another type", e.run("open", []string{e.shard("text"), e.index()}, append(args, far)...), "BROKEN")
	e.want("index of another type", e.run("open", []string{e.session(bob), e.shard("text")}, append(args, far)...), "BROKEN")
	e.want("keys", e.must("EXISTS", e.session(bob), e.index()), int64(0))
}
