package model

import (
	"fmt"
	"strings"
	"testing"
)

// story is a world in which everything happens as it is told.
type story struct {
	*world
	late bool
}

const (
	bob = "3f00000000000000000a"
	a   = "app1:a"
)

// tell runs a story to its end and returns what was wrong; "" when nothing.
func tell(t *testing.T, m machine, what func(*story)) (wrong string) {
	f := &fails{}
	switch m := m.(type) {
	case *real:
		m.reset(f)
	case *twin:
		m.t = f
		m.r.reset(f)
	}
	defer func() {
		if e := recover(); e != nil {
			if e != any(f) {
				panic(e)
			}
			wrong = f.text
		}
	}()
	s := &story{}
	s.world = newWorld(f, m, func(what string, n int) int {
		if what == "delay" && s.late {
			return 0
		}
		return n - 1
	})
	what(s)
	s.check()
	s.end()
	return ""
}

// fails is a failer that ends the story only.
type fails struct{ text string }

func (f *fails) Helper() {}

func (f *fails) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

// slowly does something whose calls arrive when they are told to.
func (s *story) slowly(do func()) {
	s.late = true
	do()
	s.late = false
}

// arrive lets the oldest call on its way arrive.
func (s *story) arrive() {
	s.deliver(0)
	s.check()
}

// on connects bob on a node.
func (s *story) on(node int) *hold {
	s.connect(bob, s.nodes[node])
	return s.socket[bob]
}

func (s *story) track(h *hold) {
	p := &place{}
	h.places[a] = p
	s.write(h, p, Track{h.conn, h.inc, s.until(h), a, Listed{"p", 0, "{}"}, 0}, func(reply any) { p.tracked = reply == int64(1) })
}

func (s *story) join(h *hold) {
	p := h.places[a]
	o := Join{ValidUntil: s.until(h), Stamp: h.stamp, Room: a, Conn: h.conn, Inc: h.inc, Client: `"bob"`}
	s.write(h, p, o, func(reply any) { p.member, p.at = answered(reply), since(reply) })
}

// member connects bob on node 0 and joins.
func (s *story) member() *hold {
	h := s.on(0)
	s.track(h)
	s.join(h)
	return h
}

// pass lets time pass.
func (s *story) pass(ms int64) {
	s.advance(ms)
	s.check()
}

// reaped lets the first reaper that comes make all leaves.
func (s *story) reaped() {
	s.claim(1, bob)
	for len(s.sagas) > 0 {
		s.step(s.sagas[len(s.sagas)-1])
		s.check()
	}
}

// Every guard of the scripts, by the story that it is there for: true to the
// script the story ends well, and without the guard something is wrong.
func TestEachGuardIsNeeded(t *testing.T) {
	const fenced = `if tonumber(old_inc) > tonumber(inc) then results[i] = 'FENCED inc' break end`
	const lapsed = `if ms > valid_until then return redis.error_reply('FENCED lease') end`
	lateJoin := func(s *story) *hold { // of a room that is listed, from where it is not a member
		h := s.on(0)
		s.track(h)
		s.slowly(func() { s.join(h) })
		return h
	}
	leaveRoom := func(s *story, h *hold) { s.leaveRoom(h, a, h.places[a]) }

	r := newReal(t)
	for _, c := range []struct {
		name  string
		m     mutation
		wrong string
		story func(*story)
	}{
		{
			"inc in join",
			mutation{"join", fenced, ""},
			"lost",
			func(s *story) {
				h := s.member()
				s.slowly(func() { s.join(h) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"inc in update",
			mutation{"update", fenced, ""},
			"lost",
			func(s *story) {
				h := s.member()
				o := Update{ValidUntil: s.until(h), Stamp: h.stamp, Room: a, Conn: bob, Inc: h.inc, Client: `"bob"`}
				s.slowly(func() { s.write(h, h.places[a], o, func(any) {}) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"inc in leave",
			mutation{"leave", fenced, ""},
			"lost",
			func(s *story) {
				o := s.leave(s.member(), a, "left")
				s.on(1)
				s.do(o)
				s.check()
			},
		},
		{
			"inc in adopt",
			mutation{"adopt", fenced, ""},
			"lost",
			func(s *story) {
				s.member()
				s.slowly(func() { s.connect(bob, s.nodes[1]) })
				s.late = true
				s.deliver(0) // the resume; its adopt waits
				s.late = false
				s.pass(1)
				s.on(0)
				s.arrive()
			},
		},
		{
			"inc in assert",
			mutation{"assert", fenced, ""},
			"lost",
			func(s *story) {
				h := s.member()
				o := Assert{Join: Join{ValidUntil: s.until(h), Stamp: h.stamp, Room: a, Conn: bob, Inc: h.inc, Client: `"bob"`, Data: "1"}}
				s.slowly(func() { s.write(h, h.places[a], o, func(any) {}) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"at in assert",
			mutation{"assert", `if first ~= '0' then at = first end`, ""},
			"another membership",
			func(s *story) {
				h := s.member()
				s.pass(1)
				s.do(s.leave(h, a, "unknown")) // somebody's hand
				s.do(Assert{Join{ValidUntil: s.until(h), Stamp: h.stamp, Room: a, Conn: bob, Inc: h.inc, Client: `"bob"`}, h.places[a].at})
				s.check()
			},
		},
		{
			"at of a member in join",
			mutation{"join", `at = old_at`, ``},
			"another membership",
			func(s *story) {
				h := s.member()
				was := h.places[a].at
				s.pass(1)
				s.join(h) // replaces its data
				h.places[a].at = was
				s.check()
			},
		},
		{
			"inc in track",
			mutation{"track", `found[1] ~= inc or found[2] ~= 'live'`, `found[2] ~= 'live'`},
			"session of",
			func(s *story) {
				h := s.on(0)
				s.slowly(func() { s.track(h) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"inc in untrack",
			mutation{"untrack", `if found[1] ~= inc or`, `if`},
			"ghost",
			func(s *story) {
				h := s.member()
				o := Untrack{bob, h.inc, a, s.now() + opMS, false}
				s.drop(h)
				s.on(1)
				s.do(o)
				s.check()
			},
		},
		{
			"inc in detach",
			mutation{"detach", `found[1] ~= inc or found[2] ~= 'live'`, `found[2] ~= 'live'`},
			"has a client",
			func(s *story) {
				h := s.member()
				s.slowly(func() { s.drop(h) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"inc in close",
			mutation{"close", `if found[1] ~= inc then return {} end`, ``},
			"has a client",
			func(s *story) {
				h := s.member()
				s.slowly(func() { s.close(h) })
				s.on(1)
				s.arrive()
			},
		},
		{
			"inc in finish",
			mutation{"finish", `found[1] ~= inc or found[2] ~= 'leaving'`, `found[2] ~= 'leaving'`},
			"ghost",
			func(s *story) {
				s.drop(s.member())
				s.pass(grace + 1)
				s.claim(1, bob)
				slow := s.sagas[0]
				s.step(slow) // it leaves, and sleeps
				s.sagas = nil
				s.pass(claimMS + 1)
				s.reaped()
				h := s.on(0)
				s.join(h)
				s.close(h)
				s.sagas = nil // the closer dies before its leaves
				s.step(slow)  // finish
				s.check()
			},
		},
		{
			"stamp in orphan",
			mutation{"orphan", `found[2] == stamp and`, ``},
			"has a client",
			func(s *story) {
				h := s.member()
				s.on(1)
				s.do(Orphan{h.stamp, "node_lost", s.now(), ttl, 0, []string{bob}}) // from a list that it had before
			},
		},
		{
			"lease in join",
			mutation{"join", lapsed, ""},
			"ghost",
			func(s *story) {
				lateJoin(s)
				s.crash(s.nodes[0])
				s.advance(ttl + 1)
				s.condemn("n1.1")
				s.reap(s.reaps[0])
				s.advance(grace + 1)
				s.reaped()
				s.advance(retention + 1)
				s.claim(1, bob)
				s.arrive()
			},
		},
		{
			"lease in leave",
			mutation{"leave", lapsed, ""},
			"lost",
			func(s *story) {
				h := s.member()
				o := s.leave(h, a, "left") // it is dead before the next is sent
				s.pass(opMS + 1)
				s.join(h)
				s.do(o)
				s.check()
			},
		},
		{
			"lease in track",
			mutation{"track", `if ms > tonumber(ARGV[2]) then return redis.error_reply('FENCED lease') end`, ""},
			"session of",
			func(s *story) {
				h := s.on(0)
				o := Track{bob, h.inc, s.until(h), a, Listed{"p", 0, "{}"}, 0}
				s.pass(opMS + 1)
				s.do(o)
			},
		},
		{
			"lease in resume",
			mutation{"resume", `if ms > tonumber(ARGV[8]) then return redis.error_reply('FENCED lease') end`, ""},
			"index",
			func(s *story) {
				s.drop(s.member())
				o := Resume{bob, "app1", "app1.k1", "bob", "", "n2.1", "n1.1", s.now() + opMS, s.now(), 0, ttl}
				s.crash(s.nodes[1])
				s.pass(ttl + 1)
				s.condemn("n2.1")
				s.reap(s.reaps[0]) // buried: nobody will look at that stamp again
				s.do(o)
			},
		},
		{
			"due of close",
			mutation{"close", `local listed = try('ZADD', due, format('%.0f', ms + claim_ms), conn)`, `local listed = 1 or claim_ms`},
			"nothing is due",
			func(s *story) {
				s.close(s.member())
				s.sagas = nil // the closer dies
				s.check()
			},
		},
		{
			"leaving before the leaves of close",
			mutation{"close", `'state', 'leaving', 'why', why`, `'why', why`},
			"index",
			func(s *story) {
				s.close(s.member())
			},
		},
		{
			"due of detach",
			mutation{"detach", `try('ZADD', due, digits, conn)`, `1`},
			"nothing is due",
			func(s *story) { s.drop(s.member()); s.check() },
		},
		{
			"inc from TIME in open",
			mutation{"open", `math.max(ms, tonumber(min_inc))`, `math.max(1, tonumber(min_inc))`},
			"lost",
			func(s *story) {
				s.drop(s.member())
				s.advance(grace + 1)
				s.claim(1, bob)
				slow := s.sagas[0] // it sleeps before its leave
				s.sagas = nil
				s.advance(claimMS + 1)
				s.reaped()
				s.advance(retention + 1)
				s.claim(1, bob)
				s.member()
				s.step(slow)
				s.check()
			},
		},
		{
			"inc grows in resume",
			mutation{"resume", `math.max(min_inc, old_inc + 1, ms)`, `math.max(min_inc, old_inc)`},
			"lost",
			func(s *story) {
				s.drop(s.member())
				s.advance(grace + 1)
				s.claim(1, bob)
				slow := s.sagas[0]
				s.sagas = nil
				s.advance(claimMS + 1)
				s.reaped()
				s.join(s.on(0)) // from away
				s.step(slow)
				s.check()
			},
		},
		{
			"fence of a takeover",
			mutation{"resume", "fence = math.max(fence, ms + fence_ms)\n  set[9], set[10] = 'fence', format('%.0f', fence)", "fence = fence or fence_ms"},
			"ghost",
			func(s *story) {
				lateJoin(s)
				leaveRoom(s, s.on(1))
				s.arrive()
			},
		},
		{
			"fence in untrack",
			mutation{"untrack", `if ms <= fence or fence > 0 and room ~= '' and only ~= 'x' then`, `if false then`},
			"ghost",
			func(s *story) {
				lateJoin(s)
				leaveRoom(s, s.on(1))
				s.arrive()
			},
		},
		{
			"the sweep forgets first",
			mutation{"untrack", `or fence > 0 and room ~= '' and only ~= 'x' then`, `then`},
			"ghost",
			func(s *story) {
				h := s.on(0)
				s.track(h)
				s.slowly(func() { s.join(h) }) // on its way
				g := s.on(1)                   // takes it over
				for _, f := range s.flying {
					f.until = s.now() + ttl
				}
				s.do(s.leave(g, a, "room_left")) // finds nothing
				s.arrive()                       // a member
				s.pass(ttl + 1)                  // the fence is over
				g.places[a].left, g.places[a].member = true, false
				if s.do(Untrack{g.conn, g.inc, a, s.now() + opMS, false}) == int64(1) {
					delete(g.places, a)
				}
				s.sweep(g)
				for len(s.flying) > 0 {
					s.arrive()
				}
			},
		},
		{
			"fence in finish",
			mutation{"finish", `if fence > 0 and claimed <= fence then`, `if false then`},
			"ghost",
			func(s *story) {
				lateJoin(s)
				s.close(s.on(1))
				for len(s.sagas) > 0 {
					s.step(s.sagas[0])
				}
				s.arrive()
			},
		},
		{
			"fence of a detach",
			mutation{"detach", `if fence > known then`, `if false then`},
			"ghost",
			func(s *story) {
				s.drop(lateJoin(s))
				leaveRoom(s, s.on(1))
				s.arrive()
			},
		},
		{
			"fence of a close",
			mutation{"close", `if fence > known then`, `if false then`},
			"ghost",
			func(s *story) {
				s.close(lateJoin(s))
				for len(s.sagas) > 0 {
					s.step(s.sagas[0])
				}
				s.arrive()
			},
		},
		{
			"claim time",
			mutation{"finish", `claimed <= fence`, `ms <= fence`},
			"ghost",
			func(s *story) {
				lateJoin(s)
				s.close(s.on(1))
				s.step(s.sagas[0]) // it leaves, and sleeps over the fence
				s.arrive()
				s.advance(ttl + 1)
				s.step(s.sagas[0])
				s.check()
			},
		},
		{
			"newest",
			mutation{"resume", `if old_inc > newest then return 'LATE' end`, ``},
			"stolen",
			func(s *story) {
				s.drop(s.member())
				s.slowly(func() { s.connect(bob, s.nodes[0]) })
				s.pass(100)
				s.on(1) // the client did not wait
				s.arrive()
			},
		},
		{
			"from",
			mutation{"adopt", `if tonumber(old_inc) < tonumber(from) then results[i] = 'OLD' break end`, ``},
			"earlier life",
			func(s *story) {
				lateJoin(s)
				s.connect(bob, s.nodes[1])
				s.crash(s.nodes[1])
				s.do(Detach{bob, s.m.State().Sessions[bob].Inc, 1, 0, nil}) // a short grace
				s.advance(2)
				s.reaped() // away, until the fence
				s.on(0)
				s.arrive() // the late join, of the first life
				s.on(0)
			},
		},
		{
			"from of a resume",
			mutation{"resume", `set[9], set[10] = 'from', digits`, `set[9], set[10] = 'key', key`},
			"earlier life",
			func(s *story) {
				lateJoin(s)
				s.slowly(func() {
					s.connect(bob, s.nodes[1])
					s.deliver(1) // and its adopt waits
				})
				s.crash(s.nodes[1])
				s.do(Detach{bob, s.m.State().Sessions[bob].Inc, 1, 0, nil})
				s.advance(2)
				s.reaped()
				s.on(0)
				s.arrive()
				s.on(0)
			},
		},
		{
			"from behind the adopts",
			mutation{"adopted", `'from', inc`, `'inc', inc`},
			"came back",
			func(s *story) {
				lateJoin(s)
				h := s.on(1)
				p := h.places[a]
				s.write(h, p, s.leave(h, a, "left"), func(any) { p.quit = true })
				s.arrive() // the late join, of node 0
				s.pass(2)
				s.on(0)
			},
		},
		{
			"live in untrack of a fence",
			mutation{"untrack", ` or room == '' and found[4] ~= 'live'`, ``},
			"ghost",
			func(s *story) {
				lateJoin(s)
				h := s.on(1)
				s.flying = nil // the join is lost
				s.pass(ttl + 1)
				s.late = true
				s.sweep(h) // its leave is on its way,
				s.join(h)  // and a join
				s.late = false
				s.close(h)
				s.step(s.sagas[0]) // finds nothing
				s.deliver(1)       // the join
				s.step(s.sagas[0]) // away, until the fence
				s.pass(opMS - 1)
				s.late = true
				s.deliver(0) // the sweep goes on: the fence is to go
				s.late = false
				s.pass(2)
				s.arrive()
				s.claim(1, bob)
				s.check()
			},
		},
		{
			"x of untrack",
			mutation{"untrack", `if only == 'x' and`, `if only == 'never' and`},
			"ghost",
			func(s *story) {
				s.member()
				h := s.on(1)
				leaveRoom(s, h)
				s.pass(ttl + 1)
				o := Untrack{bob, h.inc, a, s.until(h), true} // the sweep's, on its way
				s.track(h)
				s.join(h)
				s.do(o)
				s.check()
			},
		},
		{
			"x of a close",
			mutation{"resume", `(ended or string.sub(value, 1, 1) == 'x')`, `false and ended`},
			"session of",
			func(s *story) {
				s.member()
				s.close(s.on(1))
				for len(s.sagas) > 0 {
					s.step(s.sagas[0])
				}
				s.pass(1)
				s.on(0)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wrong := tell(t, &twin{t, New(begin), r}, c.story); wrong != "" {
				t.Fatalf("true to the scripts the story ends badly: %s", wrong)
			}
			wrong := tell(t, newReal(t, c.m), c.story)
			first, _, _ := strings.Cut(wrong, "\n")
			if !strings.Contains(first, c.wrong) {
				t.Errorf("without it the story ends so: %q; want %q", first, c.wrong)
			}
		})
	}
}
