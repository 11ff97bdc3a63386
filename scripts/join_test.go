package scripts

import (
	"fmt"
	"testing"
)

func TestJoinOfAnEmptyRoomStartsAtRedisClock(t *testing.T) {
	e := newEnv(t)
	l := e.listen(e.feed("lobby"))
	from := e.now()
	rev := e.join("lobby", bob, "7", tail)
	to := e.now()

	at := rev / 1000 // a new room's revision is the clock in µs, read once
	e.within("time of the join", at, from, to)
	value := member(rev, "7", at, tail)
	e.want("members", e.hash(e.members("lobby")), map[string]string{"#": fmt.Sprint(rev), bob: value})
	e.want("event", l.line(), fmt.Sprintf("join %d 0 %s %d - %s", rev, bob, at, value))
}

func TestJoinFollowsTheRevision(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	l := e.listen(e.feed("lobby"))
	from := e.now()
	second := e.join("lobby", eve, "8", `"client":"eve"}`)
	to := e.now()
	e.want("second revision", second, first+1)

	line, ms := l.lineAndTime()
	e.within("time of the join", ms, from, to)
	value := member(second, "8", ms, `"client":"eve"}`)
	e.want("event", line, fmt.Sprintf("join %d %d %s MS - %s", second, first, eve, value))
	e.want("member", e.hash(e.members("lobby"))[eve], value)
}

func TestJoinOfAMemberIsAnUpdateThatKeepsAt(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	at := first / 1000
	l := e.listen(e.feed("lobby"))
	second := e.join("lobby", bob, "9", `"client":"123"}`)
	e.want("second revision", second, first+1)

	value := member(second, "9", at, `"client":"123"}`)
	e.want("member", e.hash(e.members("lobby"))[bob], value)
	line, _ := l.lineAndTime()
	e.want("event", line, fmt.Sprintf("update %d %d %s MS - %s", second, first, bob, value))
}

func TestJoinTwice(t *testing.T) {
	e := newEnv(t)
	for _, c := range []struct {
		name, inc, retry, tail string
		changes                bool
	}{
		{"the same again is an update", "7", "0", tail, true},
		{"a retry of the same is silent", "7", "1", tail, false},
		{"a retry of other data is an update", "7", "1", `"client":"123","data":1}`, true},
		{"a retry by a newer incarnation is an update", "8", "1", tail, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &env{t, e.c, e.p}
			e.must("DEL", e.members("twice"))
			first := e.join("twice", bob, "7", tail)
			before := e.hash(e.members("twice"))
			l := e.listen(e.feed("twice"))
			got := e.run("join", []string{e.members("twice")},
				far, 0, stamp, 0, e.feed("twice"), bob, c.inc, c.retry, c.tail)
			if c.changes {
				e.want("join", got, list(revAt(first+1, first/1000)))
				e.want("events", len(l.lines()), 1)
				return
			}
			e.want("join", got, list(revAt(0, first/1000)))
			e.want("events", len(l.lines()), 0)
			e.want("members", e.hash(e.members("twice")), before)
		})
	}
}

func TestJoinIsFenced(t *testing.T) {
	e := newEnv(t)
	e.join("lobby", bob, "10", tail)
	before := e.hash(e.members("lobby"))
	l := e.listen(e.feed("lobby"))
	args := func(until, conn, inc string) []any {
		return []any{until, 0, stamp, 0, e.feed("lobby"), conn, inc, 1, tail}
	}
	key := []string{e.members("lobby")}
	e.want("an older incarnation", e.run("join", key, args(far, bob, "9")...), list("FENCED inc"))
	e.want("an older incarnation with more digits", e.run("join", key, args(far, bob, "09")...), list("FENCED inc"))
	e.want("a lease that is over, no member", e.run("join", key, args(past, eve, "10")...), refused("FENCED lease"))
	e.want("a lease that is over, a member", e.run("join", key, args(past, bob, "11")...), refused("FENCED lease"))
	e.want("a lease that ended a moment ago",
		e.run("join", key, args(fmt.Sprint(e.now()-1), bob, "11")...), refused("FENCED lease"))
	e.want("events", l.lines(), []string(nil))
	e.want("members", e.hash(e.members("lobby")), before)
}

func TestJoinRefusesTheMemberAboveTheLimit(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	first := e.join("lobby", bob, "7", tail)
	l := e.listen(feed)
	e.want("join of a full room", e.run("join", key, far, 0, stamp, 1, feed, eve, 7, 0, tail), list("FULL"))
	e.want("events", l.lines(), []string(nil))
	e.want("join of a full room's member", e.run("join", key, far, 0, stamp, 1, feed, bob, 7, 0, tail),
		list(revAt(first+1, first/1000)))
	e.joined("join below the limit", e.one("join", e.run("join", key, far, 0, stamp, 2, feed, eve, 7, 0, tail)))
}

func TestJoinCountsMembersWhereTheRevisionIsMissing(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	e.join("lobby", bob, "7", tail)
	e.must("HDEL", e.members("lobby"), "#")
	e.want("join of a full room", e.run("join", key, far, 0, stamp, 1, feed, eve, 7, 0, tail), list("FULL"))
	from := e.now()
	l := e.listen(feed)
	rev := e.join("lobby", eve, "7", tail)
	e.within("revision", rev/1000, from, e.now())
	line, _ := l.lineAndTime() // prev 1 and not 0: a gap, not a new room
	e.want("event", line, fmt.Sprintf("join %d 1 %s MS - %s", rev, eve, e.hash(e.members("lobby"))[eve]))
}

func TestJoinAfterAllMembersWereDeletedByHand(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	e.must("HDEL", e.members("lobby"), bob)
	l := e.listen(e.feed("lobby"))
	rev := e.join("lobby", eve, "7", tail)
	e.want("revision", rev, first+1)
	line, _ := l.lineAndTime()
	e.want("event", line, fmt.Sprintf("join %d %d %s MS - %s", rev, first, eve, e.hash(e.members("lobby"))[eve]))
}

func TestJoinJumpsToTheFloor(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	l := e.listen(feed)
	const floor = int64(9007199254740000) // near 2^53: no digit may be lost
	var since int64                       // of bob's join
	for _, c := range []struct {
		doing, conn string
		floor, rev  int64
	}{
		{"join of an empty room", bob, floor, floor},
		{"join above the floor", eve, floor, floor + 1},
		{"join of a member", bob, floor + 9, floor + 9},
	} {
		from := e.now()
		rev, at := e.joined(c.doing, e.one(c.doing, e.run("join", key, far, c.floor, stamp, 0, feed, c.conn, 7, 0, tail)))
		e.want(c.doing, rev, c.rev)
		if c.conn == bob && since != 0 {
			e.want("time of the first join", at, since)
			continue
		}
		e.within("time of the join", at, from, e.now())
		if c.conn == bob {
			since = at
		}
	}
	e.want("revision", e.hash(e.members("lobby"))["#"], "9007199254740009")
	var revs [][2]int64
	for _, line := range l.lines() {
		var kind string
		var rev, prev int64
		if _, err := fmt.Sscan(line, &kind, &rev, &prev); err != nil {
			t.Fatal(err)
		}
		revs = append(revs, [2]int64{rev, prev})
	}
	e.want("rev and prev", revs, [][2]int64{{floor, 0}, {floor + 1, floor}, {floor + 9, floor + 1}})
}

func TestJoinOfSixteenWithOneBrokenKey(t *testing.T) {
	e := newEnv(t)
	var keys []string
	args := []any{far, 0, stamp, 0}
	for i := range 16 {
		// One slot for all: the same hash tag, as Cluster would have it.
		key := fmt.Sprintf("%s:{app1:lobby}:members%d", e.p, i)
		keys = append(keys, key)
		args = append(args, e.feed("lobby"), bob, "7", 0, tail)
	}
	e.must("SET", keys[3], "somebody's")
	e.must("HSET", keys[5], "#", "no number")
	e.must("HSET", keys[7], "#", "5", bob, "no member")
	l := e.listen(e.feed("lobby"))
	results := e.run("join", keys, args...).([]any)
	e.want("results", len(results), 16)
	for i, r := range results {
		if i == 3 || i == 5 || i == 7 {
			e.want(fmt.Sprintf("operation %d", i), r, "BROKEN")
			continue
		}
		rev, at := e.joined(fmt.Sprintf("operation %d", i), r)
		e.want(fmt.Sprintf("time of operation %d", i), at, rev/1000)
		e.want(fmt.Sprintf("key %d", i), e.hash(keys[i]),
			map[string]string{"#": fmt.Sprint(rev), bob: member(rev, "7", rev/1000, tail)})
	}
	e.want("events", len(l.lines()), 13)
	e.want("the wrong type", e.must("GET", keys[3]), "somebody's")
	e.want("the wrong member", e.hash(keys[7]), map[string]string{"#": "5", bob: "no member"})
}

func TestJoinTwiceInOneCall(t *testing.T) {
	e := newEnv(t)
	key := e.members("lobby")
	got := e.run("join", []string{key, key}, far, 0, stamp, 1,
		e.feed("lobby"), bob, 7, 0, tail, e.feed("lobby"), eve, 7, 0, tail).([]any)
	e.joined("the first", got[0])
	e.want("the second", got[1], "FULL")
}

// What a client sent is copied, byte for byte, through join, update, resume
// of its value and leave.
func TestDataIsOpaque(t *testing.T) {
	for _, data := range []string{
		`null`, `[]`, `{}`, `""`, `0`, `-0.0`, `1e400`, `0.12345678901234567890123`, `123456789012345678901234567890`,
		`"\/"`, `"\u0000\u00e9é😀"`, `"}"`, `{"rev":1,"inc":2,"node":"x","at":3,"client":"y","data":4}`,
		`{"b":1,"a":{"c":[[],{}]}}`, `"%d %s %% %1"`, `"` + "\u2028\x7f" + `"`, `{"a":"\",\"data\":"}`,
	} {
		for _, client := range []string{`"123"`, `""`, `"a\",\"data\":\"b"`, `"\\"`, `"é\u0001%"`} {
			t.Run(client+data, func(t *testing.T) {
				e := newEnv(t)
				key, feed := []string{e.members("lobby")}, e.feed("lobby")
				l := e.listen(feed)
				tail := `"client":` + client + `,"data":` + data + `}`
				rev := e.join("lobby", bob, "7", tail)
				e.want("member", e.hash(e.members("lobby"))[bob], member(rev, "7", rev/1000, tail))
				l.lines()
				e.want("update", e.run("update", key, far, 0, stamp, feed, bob, 7, 0, tail), list(rev+1))
				value := member(rev+1, "7", rev/1000, tail)
				e.want("updated member", e.hash(e.members("lobby"))[bob], value)
				line, _ := l.lineAndTime()
				e.want("update event", line, fmt.Sprintf("update %d %d %s MS - %s", rev+1, rev, bob, value))
				e.want("retry", e.run("update", key, far, 0, stamp, feed, bob, 7, 1, tail), list(int64(0)))
				e.want("leave", e.run("leave", key, far, 0, feed, bob, 7, "left", `["bye"]`), list(rev+2))
				line, _ = l.lineAndTime()
				e.want("leave event", line, fmt.Sprintf("leave %d %d %s MS left %s", rev+2, rev+1, bob,
					member(rev+1, "7", rev/1000, `"client":`+client+`,"data":["bye"]}`)))
			})
		}
	}
}
