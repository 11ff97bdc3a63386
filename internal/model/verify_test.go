package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// check is what must be true after each step.
func (w *world) check() {
	w.t.Helper()
	s := w.m.State()
	w.fold(s)
	for room, r := range s.Rooms {
		for conn, m := range r.Members {
			c := s.Sessions[conn]
			switch {
			case c == nil:
				w.fail("ghost: %s is in %s, and has no session", conn, room)
			case m.Inc > c.Inc:
				w.fail("%s is in %s with inc %d, above its session's %d", conn, room, m.Inc, c.Inc)
			}
			if _, listed := c.Rooms[room]; !listed {
				w.fail("ghost: %s is in %s, and its session does not list it", conn, room)
			}
		}
	}
	for _, h := range w.holds {
		c := s.Sessions[h.conn]
		if c == nil || c.Inc != h.inc || c.State != "live" || h.adopts > 0 {
			continue
		}
		if _, in := s.Index[c.Node][h.conn]; !in && s.Reaping[c.Node].At == 0 {
			w.fail("%s is live on %s, and not in its index", h.conn, c.Node)
		}
		for room, p := range h.places {
			if p.busy || !p.member {
				continue
			}
			if r := s.Rooms[room]; r == nil || r.Members[h.conn].Inc != h.inc {
				w.fail("lost: %s was told that it is in %s (inc %d); there is %+v", h.conn, room, h.inc, r)
			} else if at := r.Members[h.conn].At; p.at != 0 && at != p.at {
				w.fail("another membership: %s is in %s since %d, and was told %d", h.conn, room, at, p.at)
			}
		}
	}
	for conn, c := range s.Sessions {
		if _, due := s.Due[conn]; !due && c.State != "live" {
			w.fail("%s is %s, and nothing is due", conn, c.State)
		}
	}
}

// fold applies the events since the last time: one join, one leave, no gap.
func (w *world) fold(s *State) {
	w.t.Helper()
	for ; w.folded < len(s.Published); w.folded++ {
		channel, line, _ := strings.Cut(s.Published[w.folded], " ")
		room, is := strings.CutSuffix(channel, "}:feed")
		if !is {
			continue
		}
		room = strings.TrimPrefix(room, "{")
		var kind, conn string
		var rev, prev int64
		if _, err := fmt.Sscan(line, &kind, &rev, &prev, &conn); err != nil {
			w.fail("event %q: %v", line, err)
		}
		in := w.members[room]
		if in == nil {
			in = map[string]bool{}
			w.members[room] = in
		}
		if rev <= w.rev[room] || prev != w.rev[room] && (prev != 0 || len(in) > 0) {
			w.fail("gap: after %d comes %s", w.rev[room], line)
		}
		w.rev[room] = rev
		w.counts["event "+kind]++
		if in[conn] == (kind == "join") && kind != "mark" {
			w.fail("twice: %s", line)
		}
		if in[conn] = kind != "leave"; !in[conn] {
			delete(in, conn)
		}
	}
	for room, in := range w.members {
		got := map[string]bool{}
		if r := s.Rooms[room]; r != nil {
			for conn := range r.Members {
				got[conn] = true
			}
		}
		if d := cmp.Diff(got, in, cmpopts.EquateEmpty()); d != "" {
			w.fail("the events of %s tell something else than the room holds (-room +events):\n%s", room, d)
		}
	}
}

// settle lets everything end that was begun: no client does anything new, and
// every socket that is not its client's is found lost.
func (w *world) settle() {
	w.t.Helper()
	draw := w.draw
	w.draw = func(what string, n int) int { // all at once, and nothing late
		if what == "orphans" || what == "delay" {
			return n - 1
		}
		return 0
	}
	defer func() { w.draw = draw }()
	for range 300 {
		for len(w.flying) > 0 {
			w.deliver(draw("arrives", len(w.flying)))
			w.check()
		}
		for _, n := range w.nodes {
			n.stalled = false
			if _, known := w.m.State().Registry[n.stamp]; n.up && !known {
				w.beat(n)
			}
		}
		for len(w.sagas) > 0 {
			w.step(w.sagas[0])
			w.check()
		}
		for _, h := range slices.Clone(w.holds) {
			switch {
			case w.socket[h.conn] == h && h.taken == 0:
				w.sweep(h)
			case h.taken > 0:
				w.forget(h)
			default:
				w.drop(h)
			}
			w.check()
		}
		for len(w.reaps) > 0 {
			w.reap(w.reaps[0])
			w.check()
		}
		s := w.m.State()
		for _, stamp := range slices.Sorted(maps.Keys(s.NodesDue)) {
			if s.NodesDue[stamp] < s.MS() {
				w.condemn(stamp)
			}
		}
		if list := w.overdue(1); len(list) > 0 { // a millisecond after: at its fence itself a session is due in vain
			w.claim(1, list...)
			w.check()
			continue
		}
		if w.quiet() {
			return
		}
		w.advance(w.toNext())
		w.check()
	}
	w.fail("it does not come to rest: %+v", w.m.State())
}

// overdue is what was due `ago` ms ago.
func (w *world) overdue(ago int64) (list []string) {
	s := w.m.State()
	for _, conn := range slices.Sorted(maps.Keys(s.Due)) {
		if s.Due[conn]+ago <= s.MS() {
			list = append(list, conn)
		}
	}
	return list
}

// toNext is the time to the next moment at which something becomes possible.
func (w *world) toNext() int64 {
	s := w.m.State()
	next := s.MS() + retention
	for _, d := range s.Due {
		next = min(next, d+1)
	}
	for stamp, d := range s.NodesDue {
		if s.Reaping[stamp].At != 0 || !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.up && n.stamp == stamp }) {
			next = min(next, d+1)
		}
	}
	for _, h := range w.holds {
		if h.fence > 0 {
			next = min(next, h.fence+1)
		}
	}
	return max(1, next-s.MS())
}

func (w *world) quiet() bool {
	s := w.m.State()
	up := 0
	for _, n := range w.nodes {
		if n.up {
			up++
		}
		if _, known := s.Registry[n.stamp]; n.up != known {
			return false
		}
	}
	return len(w.flying) == 0 && len(s.Due) == 0 && len(s.Reaping) == 0 && len(s.NodesDue) == up &&
		!slices.ContainsFunc(w.holds, func(h *hold) bool { return h.fence > 0 || h.taken > 0 || h.adopts > 0 })
}

// verify is what must be true once it has settled: who is where is exactly
// what the holders were told.
func (w *world) verify() {
	w.t.Helper()
	s := w.m.State()
	want := New(s.Now)
	for _, h := range w.holds {
		c := s.Sessions[h.conn]
		if c == nil || c.Inc != h.inc || c.State != "live" || c.Node != h.stamp {
			w.fail("%s (inc %d, %s) has a client, and its session is %+v", h.conn, h.inc, h.stamp, c)
		}
		want.index(h.stamp, h.conn, h.inc)
		listed := map[string]bool{}
		for room, p := range h.places {
			if p.member {
				if want.Rooms[room] == nil {
					want.Rooms[room] = &Room{Members: map[string]Member{}}
				}
				want.Rooms[room].Members[h.conn] = Member{Inc: h.inc}
			}
			if p.tracked {
				listed[room] = true
			}
		}
		got := map[string]bool{}
		for room, l := range c.Rooms {
			got[room] = l.Flag == "p"
		}
		if d := cmp.Diff(got, listed); d != "" || c.Fence != 0 {
			w.fail("session of %s, fence %d (-lists +should):\n%s", h.conn, c.Fence, d)
		}
	}
	if d := cmp.Diff(s.Index, want.Index); d != "" {
		w.fail("index (-is +should):\n%s", d)
	}
	if len(s.Sessions) != len(w.holds) || len(s.Grace) != 0 {
		w.fail("%d holds; sessions %v, grace %v", len(w.holds), slices.Collect(maps.Keys(s.Sessions)), s.Grace)
	}
	ignore := cmp.Options{
		cmpopts.IgnoreFields(Room{}, "Rev"),
		cmpopts.IgnoreFields(Member{}, "Rev", "Node", "At", "Client", "Data"),
	}
	if d := cmp.Diff(s.Rooms, want.Rooms, ignore); d != "" {
		w.fail("members (-are +should):\n%s", d)
	}
}

// end settles, verifies, closes every connection and wants nothing left.
func (w *world) end() {
	w.t.Helper()
	w.settle()
	w.verify()
	for _, h := range slices.Clone(w.holds) {
		w.close(h)
	}
	w.settle()
	s := w.m.State()
	if n := len(s.Rooms) + len(s.Sessions) + len(s.Index) + len(s.Due) + len(s.Grace) + len(s.Reaping); n > 0 {
		w.fail("%d things are left: %+v", n, s)
	}
}
