package scripts

import (
	"fmt"
	"testing"
)

// resumption is the arguments of a resume, by node n2.1.
type resumption struct {
	conn, app, key, client, secret, stamp, old, until, newest string
	minInc, fenceMs                                           int64
}

// of is bob coming back from n1.5, as it should be.
func of(conn string) resumption {
	return resumption{conn, "app1", "app1.k2", "123", "", "n2.1", stamp, far, far, 0, 6000}
}

func (e *env) resume(r resumption) any {
	e.t.Helper()
	return e.run("resume", []string{
		e.session(r.conn), e.grace(r.conn), e.shard("due"), e.shard("node:" + r.old), e.shard("node:" + r.stamp),
	}, r.conn, r.app, r.key, r.client, r.secret, r.stamp, r.old, r.until, r.newest, r.minInc, r.fenceMs, e.shard("ctl:"+r.old))
}

// resumed is the answer of a resume that succeeded.
func (e *env) resumed(reply any) (inc, fence int64, state string, was map[string]string) {
	e.t.Helper()
	l, ok := reply.([]any)
	if !ok || len(l) != 4 {
		e.t.Fatalf("resume answered %#v, want inc, fence, state, fields", reply)
	}
	state, _ = l[2].(string)
	return e.number("inc", l[0]), e.number("fence", l[1]), state, e.fields("fields", l[3])
}

// lost opens bob with a room, and drops it.
func (e *env) lost(why ...any) (inc, deadline int64) {
	e.t.Helper()
	inc = e.open(bob)
	e.track(bob, inc, "lobby", `p 0 {}`, 9)
	deadline = e.number("detach", e.detach(bob, inc, 0, "app1:lobby", 17))
	if why != nil {
		e.must("HSET", e.session(bob), "why", why[0])
	}
	return inc, deadline
}

func TestResumeOutOfGrace(t *testing.T) {
	for _, to := range []string{"n2.1", stamp} { // another node, and the same
		e := newEnv(t)
		old, deadline := e.lost("node_lost")
		before := e.hash(e.session(bob))
		r := of(bob)
		r.stamp = to
		l := e.listen(e.shard("ctl:" + stamp))
		from := e.now()
		inc, fence, state, was := e.resumed(e.resume(r))
		e.within("inc", inc, max(from, old+1), max(e.now(), old+1))
		e.want("fence and state", []any{fence, state}, []any{int64(0), "grace"})
		e.want("fields as they were", was, before)
		e.want("deadline as it was", was["due"], fmt.Sprint(deadline))

		want := sessionOf(inc, "room:app1:lobby", "p 17 {}", "from", fmt.Sprint(old), "node", to, "key", "app1.k2")
		e.want("session", e.hash(e.session(bob)), want)
		e.want("index", e.hash(e.shard("node:"+to)), map[string]string{bob: fmt.Sprint(inc)})
		if to != stamp {
			e.want("old index", e.hash(e.index()), map[string]string{})
		}
		e.want("grace key, due", e.must("EXISTS", e.grace(bob), e.shard("due")), int64(0))
		e.want("notices: nobody has to forget it", len(l.lines()), 0)
	}
}

func TestResumeOfALiveSessionTakesItOver(t *testing.T) {
	for _, c := range []struct {
		name, to, old string
		fence         func(from, fence int64) bool
	}{
		{"another node", "n2.1", "", nil},
		{"the same node", stamp, "", nil},
		{"an earlier fence", "n2.1", "5", nil},
		{"a later fence", "n2.1", far, func(_, fence int64) bool { return fmt.Sprint(fence) == far }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			old := e.open(bob)
			e.track(bob, old, "lobby", `p 0 {}`, 9)
			if c.old != "" {
				e.must("HSET", e.session(bob), "fence", c.old)
			}
			before := e.hash(e.session(bob))
			l := e.listen(e.shard("ctl:" + stamp))
			r := of(bob)
			r.stamp = c.to
			from := e.now()
			inc, fence, state, was := e.resumed(e.resume(r))
			to := e.now()
			if inc <= old {
				t.Errorf("inc %d is not above %d", inc, old)
			}
			if c.fence == nil {
				e.within("fence", fence, from+6000, to+6000)
			} else {
				e.want("fence", c.fence(from, fence), true)
			}
			e.want("state", state, "live")
			e.want("fields as they were", was, before)
			e.want("session", e.hash(e.session(bob)), sessionOf(inc, "room:app1:lobby", "p 0 {}", "from", fmt.Sprint(old),
				"node", c.to, "key", "app1.k2", "fence", fmt.Sprint(fence)))
			e.want("index", e.hash(e.shard("node:"+c.to)), map[string]string{bob: fmt.Sprint(inc)})
			e.want("index entries", e.must("EXISTS", e.shard("node:"+stamp), e.shard("node:n2.1")), int64(1))
			e.want("notice", l.line(), fmt.Sprintf("taken %s %d", bob, inc))
			e.want("track by the old owner", e.track(bob, old, "hall", "p 0 {}", 9), "FENCED inc")
			e.want("close by the old owner", e.close(bob, old, "closed", 0), list())
			e.want("detach by the old owner", e.detach(bob, old, 0), int64(0))
		})
	}
}

func TestResumeFromAwayBeginsALifeOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		why, fence string
		rooms      []string // the rooms of the session afterwards
	}{
		{"timeout", "", []string{"room:app1:lobby", "p 17 {}"}},
		{"timeout", far, []string{"room:app1:lobby", "p 17 {}", "room:app1:left", "x 0 {}"}},
		{"node_lost", "", []string{"room:app1:lobby", "p 17 {}"}},
		// It is here until its fence, and its rooms must not come back.
		{"closed", far, []string{"room:app1:lobby", "x 17 {}", "room:app1:left", "x 0 {}"}},
		{"kicked", far, []string{"room:app1:lobby", "x 17 {}", "room:app1:left", "x 0 {}"}},
		{"kicked", "", nil},
	} {
		e := newEnv(t)
		old, _ := e.lost(c.why)
		e.must("HSET", e.session(bob), "state", "away", "room:app1:left", "x 0 {}")
		wantFence, more := "0", []string(nil)
		if c.fence != "" {
			e.must("HSET", e.session(bob), "fence", c.fence)
			wantFence, more = c.fence, []string{"fence", c.fence}
		}
		e.must("DEL", e.grace(bob))
		before := e.hash(e.session(bob))
		inc, fence, state, was := e.resumed(e.resume(of(bob)))
		name := c.why + ", fence " + c.fence
		e.want(name+": fence and state", []string{fmt.Sprint(fence), state}, []string{wantFence, "away"})
		e.want(name+": fields as they were", was, before)
		e.want(name+": session", e.hash(e.session(bob)),
			sessionOf(inc, append(append(more, "node", "n2.1", "key", "app1.k2"), c.rooms...)...))
		e.want(name+": inc", inc > old, true)
		e.want(name+": due", e.must("EXISTS", e.shard("due")), int64(0))
	}
}

func TestResumeTakesAHigherInc(t *testing.T) {
	e := newEnv(t)
	e.lost()
	r := of(bob)
	r.minInc = 9007199254740991 // 2^53 - 1: no digit may be lost
	inc, _, _, _ := e.resumed(e.resume(r))
	e.want("inc", inc, r.minInc)

	e = newEnv(t)
	old := e.open(bob)
	e.must("HSET", e.session(bob), "inc", old+1_000_000) // the clock went back
	inc, _, _, _ = e.resumed(e.resume(of(bob)))
	e.want("inc above the old", inc, old+1_000_001)
}

func TestResumeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		scene func(e *env, r *resumption, inc int64)
		want  any
	}{
		{"no session", func(e *env, _ *resumption, _ int64) { e.must("DEL", e.session(bob)) }, "GONE"},
		{"another app", func(_ *env, r *resumption, _ int64) { r.app = "app2" }, "DENIED"},
		{"another client", func(_ *env, r *resumption, _ int64) { r.client = "456" }, "DENIED"},
		{"no secret", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "secret", "c0ffee") }, "DENIED"},
		{"another secret", func(e *env, r *resumption, _ int64) {
			e.must("HSET", e.session(bob), "secret", "c0ffee")
			r.secret = "c0ffed"
		}, "DENIED"},
		{"held over HTTP", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "state", "held") }, "DENIED"},
		{"another client, of one that leaves", func(e *env, r *resumption, _ int64) {
			e.must("HSET", e.session(bob), "state", "leaving")
			r.client, r.newest = "456", "1"
		}, "DENIED"},
		{"an old socket", func(_ *env, r *resumption, inc int64) { r.newest = fmt.Sprint(inc - 1) }, "LATE"},
		{"an old socket, of one that leaves", func(e *env, r *resumption, inc int64) {
			e.must("HSET", e.session(bob), "state", "leaving")
			r.newest = fmt.Sprint(inc - 1)
		}, "LATE"},
		{"leaving", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "state", "leaving") }, "LEAVING"},
		{"grace over, at its end", func(e *env, _ *resumption, _ int64) {
			e.must("HSET", e.session(bob), "state", "grace", "due", e.now())
		}, "LEAVING"},
		{"grace over", func(e *env, r *resumption, _ int64) {
			e.must("HSET", e.session(bob), "state", "grace", "due", e.now()-1)
			r.old = "n9.1"
		}, "LEAVING"},
		{"on another node", func(e *env, r *resumption, _ int64) { r.old = "n9.1" }, "MOVED " + stamp},
		{"away, from another node", func(e *env, r *resumption, _ int64) {
			e.must("HSET", e.session(bob), "state", "away")
			r.old = ""
		}, "MOVED " + stamp},
		{"lease over", func(_ *env, r *resumption, _ int64) { r.until = past }, refused("FENCED lease")},
		{"session of another type", func(e *env, _ *resumption, _ int64) {
			e.must("DEL", e.session(bob))
			e.must("SET", e.session(bob), "x")
		}, "BROKEN"},
		{"no state", func(e *env, _ *resumption, _ int64) { e.must("HDEL", e.session(bob), "state") }, "BROKEN"},
		{"wrong inc", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "inc", "x") }, "BROKEN"},
		{"wrong fence", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "fence", "x") }, "BROKEN"},
		{"wrong deadline", func(e *env, _ *resumption, _ int64) { e.must("HSET", e.session(bob), "due", "x") }, "BROKEN"},
		{"new index of another type", func(e *env, _ *resumption, _ int64) { e.must("SET", e.shard("node:n2.1"), "x") }, "BROKEN"},
		{"old index of another type", func(e *env, _ *resumption, _ int64) {
			e.must("DEL", e.index())
			e.must("SET", e.index(), "x")
		}, "BROKEN"},
		{"due of another type", func(e *env, _ *resumption, _ int64) {
			e.must("HSET", e.session(bob), "state", "away")
			e.must("SET", e.shard("due"), "x")
		}, "BROKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			inc := e.open(bob)
			e.track(bob, inc, "lobby", "p 0 {}", 9)
			r := of(bob)
			c.scene(e, &r, inc)
			var before map[string]string
			if e.must("TYPE", e.session(bob)) == "hash" {
				before = e.hash(e.session(bob))
			}
			l := e.listen(e.shard("ctl:" + stamp))
			want := c.want
			if want == "LEAVING" {
				want = fmt.Sprintf("LEAVING %d", inc)
			}
			e.want("resume", e.resume(r), want)
			if before != nil {
				e.want("session", e.hash(e.session(bob)), before)
			}
			e.want("notices", len(l.lines()), 0)
		})
	}
}

func TestResumeWithTheSecret(t *testing.T) {
	e := newEnv(t)
	e.lost()
	e.must("HSET", e.session(bob), "secret", "c0ffee")
	r := of(bob)
	r.secret = "c0ffee"
	_, _, state, _ := e.resumed(e.resume(r))
	e.want("state", state, "grace")
	e.want("secret", e.hash(e.session(bob))["secret"], "c0ffee")
}

func TestResumedSessionCountsItsRoomsAsBefore(t *testing.T) {
	e := newEnv(t)
	e.lost("timeout")
	inc, _, _, _ := e.resumed(e.resume(of(bob)))
	e.want("a second room", e.track(bob, inc, "hall", "p 0 {}", 2), int64(1))
	e.want("a third", e.track(bob, inc, "third", "p 0 {}", 2), "FULL")
}
