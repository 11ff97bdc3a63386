package model

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// actions are the steps of the world, by name. A step that is not possible is
// skipped.
func (w *world) actions() map[string]func(*rapid.T) {
	pick := func(t *rapid.T, what string, n int) int {
		if n == 0 {
			t.Skip() // rapid's word for: not possible now, draw another step
		}
		return w.draw(what, n)
	}
	return map[string]func(*rapid.T){
		"":         func(*rapid.T) { w.check() },
		"connect":  func(*rapid.T) { w.connect(conns[w.draw("conn", len(conns))], w.someNode()) },
		"act":      func(t *rapid.T) { w.actAny(pick(t, "hold", len(w.holds))) },
		"act more": func(t *rapid.T) { w.actAny(pick(t, "hold", len(w.holds))) },
		"act much": func(t *rapid.T) {
			for i := pick(t, "hold", len(w.holds)); i < len(w.holds) && w.draw("and again", 12) > 0; {
				w.actAny(i)
			}
		},
		"arrive": func(t *rapid.T) { w.deliver(pick(t, "flight", len(w.flying))) },
		"drop":   func(t *rapid.T) { w.drop(w.holds[pick(t, "hold", len(w.holds))]) },
		"close":  func(t *rapid.T) { w.close(w.holds[pick(t, "hold", len(w.holds))]) },
		"taken": func(t *rapid.T) {
			h := w.holds[pick(t, "hold", len(w.holds))]
			if h.taken == 0 {
				t.Skip() // as above
			}
			w.forget(h)
		},
		"sweep": func(t *rapid.T) { w.sweep(w.holds[pick(t, "hold", len(w.holds))]) },
		"claim": func(*rapid.T) { // rung, or not; due, or no longer; by one, or by two
			list := w.overdue(0)
			if w.draw("rung for nothing", 4) == 0 {
				list = conns
			}
			if len(list) > 0 {
				w.claim(1, list...)
			}
		},
		"leave":          func(t *rapid.T) { w.step(w.sagas[pick(t, "saga", len(w.sagas))]) },
		"leave more":     func(t *rapid.T) { w.step(w.sagas[pick(t, "saga", len(w.sagas))]) },
		"reaper crashes": func(t *rapid.T) { w.abandon(w.sagas[pick(t, "saga", len(w.sagas))]) },
		"condemn": func(t *rapid.T) {
			list := slices.Sorted(maps.Keys(w.m.State().NodesDue))
			w.condemn(list[pick(t, "stamp", len(list))])
		},
		"reap": func(t *rapid.T) { w.reap(w.reaps[pick(t, "reap", len(w.reaps))]) },
		"node": func(*rapid.T) {
			n := w.nodes[w.draw("node", len(w.nodes))]
			switch {
			case !n.up:
				w.start(n)
			case w.draw("crash", 3) == 0:
				w.crash(n)
			case n.stalled:
				n.stalled = false
				w.beat(n)
			default:
				n.stalled = true
			}
		},
		"time": func(*rapid.T) { w.advance([]int64{1, 100, 1000, 3000}[w.draw("ms", 4)]) },
		"time to the next deadline": func(*rapid.T) {
			w.advance(max(0, w.toNext()-1+int64(w.draw("off by", 3))))
		},
	}
}

// actAny does something in one of the rooms.
func (w *world) actAny(i int) { w.act(w.holds[i], rooms[w.draw("room", len(rooms))]) }

// someNode is one that is up.
func (w *world) someNode() *node {
	i := w.draw("node", len(w.nodes))
	if !w.nodes[i].up {
		w.start(w.nodes[i])
	}
	return w.nodes[i]
}

// check runs prop as often as PRESENCE_RAPID_CHECKS says, or checks times.
func check(t *testing.T, checks, steps int, prop func(*rapid.T)) {
	t.Helper()
	n := fmt.Sprint(checks)
	if env := os.Getenv("PRESENCE_RAPID_CHECKS"); env != "" {
		n = env
	}
	for name, v := range map[string]string{"rapid.checks": n, "rapid.steps": fmt.Sprint(steps), "rapid.nofailfile": "true"} {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, v); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = flag.Set(name, old) }()
	}
	rapid.Check(t, prop)
}

func draws(t *rapid.T) func(string, int) int {
	return func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
}

// The model alone: many steps in little time. What it finds is a hole in the
// design, whatever the scripts do.
func TestTheDesignKeepsItsInvariants(t *testing.T) {
	counts, runs := map[string]int{}, 0
	check(t, 2500, 70, func(t *rapid.T) {
		w := newWorld(t, pure{New(begin)}, draws(t))
		t.Repeat(w.actions())
		w.end()
		runs++
		add(counts, w.counts)
	})
	report(t, runs, counts)
}

// The model and the real scripts, step by step.
func TestTheScriptsAreTheModel(t *testing.T) {
	r := newReal(t)
	counts, runs := map[string]int{}, 0
	check(t, 150, 70, func(t *rapid.T) {
		r.reset(t)
		w := newWorld(t, &twin{t, New(begin), r}, draws(t))
		t.Repeat(w.actions())
		w.end()
		runs++
		add(counts, w.counts)
	})
	report(t, runs, counts)
}

func add(to, from map[string]int) {
	for k, n := range from {
		to[k] += n
	}
}

// report says how much was tried; a kind of step that never came is a hole in
// the test.
func report(t *testing.T, runs int, counts map[string]int) {
	t.Helper()
	calls, text := 0, ""
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("  %s %d", k, counts[k])
	}
	for _, k := range []string{
		"join", "update", "leave", "adopt", "adopted", "open", "track", "untrack", "detach", "resume", "close", "claim", "finish",
		"orphan", "register", "beat", "condemn", "bury",
	} {
		calls += counts[k]
		if counts[k] == 0 {
			t.Errorf("%s never ran", k)
		}
	}
	t.Logf("%d runs, %d calls:%s", runs, calls, text)
}
