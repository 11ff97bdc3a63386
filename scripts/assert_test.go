package scripts

import (
	"fmt"
	"testing"
)

// assert makes the room hold a membership, of a time that is not known, and
// returns the answer.
func (e *env) assert(room, conn, inc string, floor, max any, tail string) any {
	e.t.Helper()
	return e.assertSince(0, room, conn, inc, floor, max, tail)
}

// assertSince does so with the time of the first join.
func (e *env) assertSince(at int64, room, conn, inc string, floor, max any, tail string) any {
	e.t.Helper()
	return e.one("assert", e.run("assert", []string{e.members(room)}, far, floor, stamp, max, e.feed(room), conn, inc, at, tail))
}

func TestAssertIsSilentWhereTheRoomIsExact(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	e.join("lobby", eve, "7", tail)
	before := e.hash(e.members("lobby"))
	l := e.listen(e.feed("lobby"))
	e.want("assert", e.assert("lobby", bob, "7", 0, 0, tail), int64(0))
	e.want("assert above a floor", e.assert("lobby", bob, "7", first+100, 0, tail), int64(0))
	e.want("members", e.hash(e.members("lobby")), before)
	e.want("events", len(l.lines()), 0)
}

func TestAssertWritesWhatWasLost(t *testing.T) {
	const lost = `"client":"123","data":2}`
	for _, c := range []struct {
		name, inc, tail string
		scene           func(e *env)
		kind            string
		rev, prev       func(first int64) int64 // nil: from the clock
		floor           int64                   // above first
	}{
		{
			name: "an update", inc: "7", tail: lost, kind: "update",
			rev: func(f int64) int64 { return f + 1 }, prev: func(f int64) int64 { return f },
		},
		{
			name: "an adoption", inc: "8", tail: tail, kind: "update",
			rev: func(f int64) int64 { return f + 1 }, prev: func(f int64) int64 { return f },
		},
		{
			name: "an update, with a floor", inc: "7", tail: lost, kind: "update", floor: 50,
			rev: func(f int64) int64 { return f + 50 }, prev: func(f int64) int64 { return f },
		},
		{
			name: "a join", inc: "7", tail: tail, kind: "join",
			scene: func(e *env) { e.join("lobby", eve, "1", tail); e.must("HDEL", e.members("lobby"), bob) },
			rev:   func(f int64) int64 { return f + 2 }, prev: func(f int64) int64 { return f + 1 },
		},
		{
			name: "the room", inc: "7", tail: tail, kind: "join",
			scene: func(e *env) { e.must("DEL", e.members("lobby")) },
			prev:  func(int64) int64 { return 0 },
		},
		{
			name: "the revision", inc: "7", tail: tail, kind: "update",
			scene: func(e *env) { e.must("HDEL", e.members("lobby"), "#") },
			prev:  func(int64) int64 { return 1 },
		},
		{
			name: "a part of the revision", inc: "7", tail: tail, kind: "update",
			scene: func(e *env) { e.must("HSET", e.members("lobby"), "#", 5) },
			rev:   func(f int64) int64 { return f + 1 }, prev: func(int64) int64 { return 5 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			first := e.join("lobby", bob, "7", tail)
			if c.scene != nil {
				c.scene(e)
			}
			floor := int64(0)
			if c.floor > 0 {
				floor = first + c.floor
			}
			l := e.listen(e.feed("lobby"))
			from := e.now()
			rev := e.number("assert", e.assert("lobby", bob, c.inc, floor, 0, c.tail))
			if c.rev != nil {
				e.want("revision", rev, c.rev(first))
			} else {
				e.within("revision", rev/1000, from, e.now())
			}
			line, at := l.lineAndTime()
			if c.kind == "update" {
				at = first / 1000
			}
			value := member(rev, c.inc, at, c.tail)
			e.want("member", e.hash(e.members("lobby"))[bob], value)
			e.want("revision of the room", e.hash(e.members("lobby"))["#"], fmt.Sprint(rev))
			e.want("event", line, fmt.Sprintf("%s %d %d %s MS - %s", c.kind, rev, c.prev(first), bob, value))
			e.want("assert again", e.assert("lobby", bob, c.inc, floor, 0, c.tail), int64(0))
		})
	}
}

func TestAssertOfWhatWasLostKeepsAt(t *testing.T) {
	const joined = int64(1_720_865_608_496)
	e := newEnv(t)
	l := e.listen(e.feed("lobby"))
	from := e.now()
	rev := e.number("assert", e.assertSince(joined, "lobby", bob, "7", 0, 0, tail))
	line, ms := l.lineAndTime()
	e.within("time of the event", ms, from, e.now())
	value := member(rev, "7", joined, tail)
	e.want("member", e.hash(e.members("lobby"))[bob], value)
	e.want("event", line, fmt.Sprintf("join %d 0 %s MS - %s", rev, bob, value))

	// Who is a member is since when it is, whatever its owner believes.
	e.want("assert of another time", e.assertSince(joined+1, "lobby", bob, "7", 0, 0, tail), int64(0))
	e.want("assert of other data", e.assertSince(joined+1, "lobby", bob, "7", 0, 0, `"client":"123"}`), rev+1)
	e.want("member", e.hash(e.members("lobby"))[bob], member(rev+1, "7", joined, `"client":"123"}`))
}

func TestAssertIsRefused(t *testing.T) {
	e := newEnv(t)
	e.join("lobby", bob, "10", tail)
	e.must("SET", e.members("text"), "x")
	e.must("HSET", e.members("marked"), "#", "x", bob, "x")
	e.must("HSET", e.members("odd"), "#", "5", bob, "x")
	before := e.hash(e.members("lobby"))
	for _, c := range []struct {
		name, room, conn, inc string
		max                   int
		want                  any
	}{
		{"older incarnation", "lobby", bob, "9", 0, "FENCED inc"},
		{"full", "lobby", eve, "10", 1, "FULL"},
		{"full, but a member already", "lobby", bob, "10", 1, int64(0)},
		{"wrong type", "text", bob, "10", 0, "BROKEN"},
		{"wrong revision", "marked", bob, "10", 0, "BROKEN"},
		{"wrong member", "odd", bob, "10", 0, "BROKEN"},
	} {
		e.want(c.name, e.assert(c.room, c.conn, c.inc, 0, c.max, tail), c.want)
	}
	e.want("lease over", e.run("assert", []string{e.members("lobby")}, past, 0, stamp, 0, e.feed("lobby"), bob, 10, 0, tail),
		refused("FENCED lease"))
	e.want("members", e.hash(e.members("lobby")), before)
}
