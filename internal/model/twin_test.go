package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyCall is a call that nobody would make, with arguments that are just right,
// just wrong, or of somebody else.
func anyCall(draw func(string, int) int, s *State) Op {
	now := s.MS()
	conn, room := conns[draw("conn", 2)], rooms[draw("room", len(rooms))]
	c := s.Sessions[conn]
	if c == nil {
		c = &Session{Inc: now, From: now, Node: "n1.1"}
	}
	near := func(v int64) int64 { return v + int64(draw("near", 5))/2 - 1 } // mostly v
	stamp := []string{"n1.1", "n1.2", c.Node}[draw("stamp", 3)]
	until := now + []int64{-1, 0, 1000, 1000}[draw("until", 4)]
	data := []string{"", "1", "null"}[draw("data", 3)]
	floor := int64(0)
	if r := s.Rooms[room]; r != nil && draw("floor", 4) == 0 {
		floor = r.Rev + int64(draw("above", 4))
	}
	put := Join{until, floor, stamp, draw("max", 3), room, conn, near(c.Inc), draw("retry", 2) == 0, `"bob"`, data}
	secret := []string{"", "", "c0ffee"}[draw("secret", 3)]
	script := draw("script", 21)
	if likely, is := map[string]int{"": 7, "live": 8, "leaving": 16, "grace": 12, "away": 12}[c.State]; is && draw("likely", 3) == 0 {
		script = likely
	}
	switch script {
	case 0, 1:
		return put
	case 2:
		return Update(put)
	case 3:
		return Assert{put, int64(draw("since", 2)) * near(now)}
	case 4:
		return Leave{until, floor, room, conn, near(c.Inc), "left", data}
	case 5:
		return Adopt{until, stamp, room, conn, near(c.Inc), near(c.From)}
	case 6:
		return Mark{until, room, floor}
	case 7:
		return Open{conn, near(now), stamp, "app1", "app1.k1", "bob", grace, secret, until}
	case 8, 9:
		return Track{conn, near(c.Inc), until, room, Listed{[]string{"p", "x", "-"}[draw("flag", 3)], 0, `{"bind":["a b"]}`}, draw("max", 3)}
	case 19:
		return Adopted{conn, near(c.Inc), until}
	case 10:
		return Untrack{conn, near(c.Inc), []string{room, room, ""}[draw("what", 3)], until, draw("x", 2) == 0}
	case 11:
		return Detach{conn, near(c.Inc), int64(draw("grace", 3)), (now + 2) * int64(draw("fence", 2)), map[string]int64{room: 17}}
	case 12, 13:
		return Resume{
			conn, "app1", "app1.k2", []string{"bob", "bob", "bob", "eve"}[draw("client", 4)], secret, stamp,
			[]string{c.Node, c.Node, "n1.2"}[draw("old", 3)], until, max(now, near(c.Inc)), near(c.Inc), int64(draw("fence", 3)),
		}
	case 14:
		return Close{conn, near(c.Inc), int64(draw("claim", 3)), []string{"closed", "kicked", "timeout"}[draw("why", 3)], (now + 2) * int64(draw("fence", 2))}
	case 15:
		return Claim{int64(draw("claim", 3)), conns[:1+draw("conns", 3)]}
	case 16:
		return Finish{now - int64(draw("claimed", 4)), []End{{conn, near(c.Inc), int64(3 * draw("retention", 2)), c.Node}}}
	case 17:
		return Orphan{stamp, "node_lost", near(now), 2, int64(draw("grace", 5)), conns[:1+draw("conns", 3)]}
	case 18:
		if draw("register", 2) == 0 {
			return Register{"n1", 2, fmt.Sprint(draw("value", 9))}
		}
		return Beat{stamp, ttl, "{}"}
	}
	for _, known := range slices.Sorted(maps.Keys(s.NodesDue)) {
		if draw("this", 2) == 0 {
			stamp = known
		}
	}
	switch draw("end", 3) {
	case 0:
		return Condemn{stamp, int64(draw("skew", 3)), int64(draw("claim", 3))}
	case 1:
		return Retire{stamp, int64(draw("ttl", 3)), int64(draw("claim", 3))}
	}
	return Bury{stamp}
}

// The model and the scripts agree on calls that make no sense, too: each
// refusal, each boundary to the millisecond.
func TestTheScriptsAreTheModelForAnyCall(t *testing.T) {
	r := newReal(t)
	counts, runs := map[string]int{}, 0
	check(t, 80, 70, func(t *rapid.T) {
		r.reset(t)
		w := &twin{t, New(begin), r}
		draw := draws(t)
		t.Repeat(map[string]func(*rapid.T){
			"call": func(*rapid.T) { w.step(counts, anyCall(draw, w.m)) },
			"more": func(*rapid.T) { w.step(counts, anyCall(draw, w.m)) },
			"most": func(*rapid.T) { w.step(counts, anyCall(draw, w.m)) },
			"time": func(*rapid.T) { w.Advance([]int64{1, 2, ttl}[draw("ms", 3)]) },
		})
		runs++
	})
	for _, name := range []string{"assert", "mark", "retire"} {
		if counts[name] == 0 {
			t.Errorf("%s never ran", name)
		}
	}
	report(t, runs, counts)
}

func (w *twin) step(counts map[string]int, o Op) {
	counts[o.Call("").Script]++
	reply := w.Do(o)
	if l, is := reply.([]any); is && len(l) == 1 {
		reply = l[0]
	}
	switch v := reply.(type) {
	case string:
		if v[0] != '{' {
			word, _, _ := strings.Cut(v, " ")
			counts[o.Call("").Script+" "+word]++
		}
	case Refused:
		counts[o.Call("").Script+" "+string(v)]++
	}
}
