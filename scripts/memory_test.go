package scripts

import (
	"testing"

	"presencesets/internal/redistest"
)

// When memory is full, what adds is refused as a whole and changes nothing,
// and all that removes goes on working (invariant 10).
func TestMemoryFull(t *testing.T) {
	e := newEnvOn(t, redistest.Start(t))
	inc := e.open(bob)
	e.track(bob, inc, "lobby", "p 0 {}", 9)
	e.track(bob, inc, "hall", "p 0 {}", 9)
	rev := e.join("lobby", bob, "7", tail)
	s, _ := e.register()
	session, room := e.hash(e.session(bob)), e.hash(e.members("lobby"))
	e.must("CONFIG", "SET", "maxmemory", "1")

	const oom = refused("OOM command not allowed when used memory > 'maxmemory'")
	lobby, feed := []string{e.members("lobby")}, e.feed("lobby")
	e.want("join", e.run("join", lobby, far, 0, stamp, 0, feed, eve, 7, 0, tail), oom)
	e.want("join of two", e.run("join", append(lobby, lobby...), far, 0, stamp, 0, feed, bob, 7, 0, tail, feed, eve, 7, 0, tail), oom)
	e.want("update", e.run("update", lobby, far, 0, stamp, feed, bob, 7, 0, tail), oom)
	e.want("open", e.run("open", []string{e.session(eve), e.index()}, eve, 0, stamp, "app1", "app1.k1", "1", 1, "", far), oom)
	e.want("track", e.track(bob, inc, "third", "p 0 {}", 9), oom)
	e.want("assert", e.run("assert", lobby, far, 0, stamp, 0, feed, bob, 7, 0, tail), oom)
	e.want("session", e.hash(e.session(bob)), session)
	e.want("room", e.hash(e.members("lobby")), room)
	e.want("session of eve", e.must("EXISTS", e.session(eve)), int64(0))

	e.want("mark", e.run("mark", lobby, far, feed, rev+5), list(rev+5))
	e.want("adopt", e.one("adopt", e.run("adopt", lobby, far, stamp, bob, 8, 7)) != "BROKEN", true)
	e.want("adopted", e.adopted(bob, inc), int64(1))
	e.want("untrack", e.untrack(bob, inc, "hall"), int64(1))
	r := of(bob)
	r.stamp = stamp
	e.number("detach", e.detach(bob, inc, 0))
	e.resumed(e.resume(r))
	e.want("orphan", e.orphan(e.now(), 10000, bob), int64(1))
	inc, _, _, _ = e.resumed(e.resume(r))
	e.want("close", len(e.fields("close", e.close(bob, inc, "closed", 0))), 10)
	e.want("leave", e.run("leave", lobby, far, 0, feed, bob, 8, "closed", ""), list(rev+6))
	e.must("CONFIG", "SET", "maxmemory", "0") // this ZADD is not a script's
	e.must("ZADD", e.shard("due"), 1, bob)
	e.must("CONFIG", "SET", "maxmemory", "1")
	at, got := e.claim(bob)
	e.want("claim", len(got), 1)
	e.want("finish", e.run("finish", []string{e.shard("due"), e.session(bob), e.index()}, at, bob, inc, 0), list("gone"))
	if _, ok := e.beat(s, nodeValue).([]any); !ok {
		t.Error("beat was refused")
	}
	if second, _ := e.register(); second != "n1.2" {
		t.Errorf("register gave %s, want n1.2", second)
	}
	e.number("retire", e.retire(s, 0))
	e.want("condemn", e.condemn(s, 0) != int64(0), true)
	e.want("bury", e.bury(s), int64(1))
	e.want("keys of bob", e.must("EXISTS", e.session(bob), e.members("lobby"), e.index(), e.shard("due")), int64(0))
}
