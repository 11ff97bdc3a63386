package scripts

import (
	"fmt"
	"testing"
)

func TestUpdateReplacesDataAndKeepsAt(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	at := first / 1000
	l := e.listen(e.feed("lobby"))
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	from := e.now()
	e.want("update", e.run("update", key, far, 0, stamp, feed, bob, 8, 0, `"client":"123","data":2}`), list(first+1))
	to := e.now()
	value := member(first+1, "8", at, `"client":"123","data":2}`)
	e.want("members", e.hash(e.members("lobby")), map[string]string{"#": fmt.Sprint(first + 1), bob: value})
	line, ms := l.lineAndTime()
	e.within("time of the update", ms, from, to)
	e.want("event", line, fmt.Sprintf("update %d %d %s MS - %s", first+1, first, bob, value))
}

func TestUpdateToTheSameDataIsAnEventButARetryIsNot(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	l := e.listen(feed)
	e.want("update", e.run("update", key, far, 0, stamp, feed, bob, 7, 0, tail), list(first+1))
	e.want("events", len(l.lines()), 1)
	before := e.hash(e.members("lobby"))
	e.want("retry", e.run("update", key, far, 0, stamp, feed, bob, 7, 1, tail), list(int64(0)))
	e.want("events of the retry", len(l.lines()), 0)
	e.want("members", e.hash(e.members("lobby")), before)
	e.want("retry with other data", e.run("update", key, far, 0, stamp, feed, bob, 7, 1, `"client":"123"}`), list(first+2))
	e.want("retry by a newer incarnation", e.run("update", key, far, 0, stamp, feed, bob, 8, 1, `"client":"123"}`), list(first+3))
}

func TestUpdateIsRefused(t *testing.T) {
	e := newEnv(t)
	e.join("lobby", bob, "10", tail)
	e.must("SET", e.members("text"), "x")
	e.must("HSET", e.members("marked"), "#", "x", bob, "x")
	e.must("HSET", e.members("odd"), "#", "5", bob, "x")
	before := e.hash(e.members("lobby"))
	l := e.listen(e.feed("lobby"))
	for _, c := range []struct {
		name, room, until, conn, inc string
		want                         any
	}{
		{"nobody", "lobby", far, eve, "10", list("ABSENT")},
		{"empty room", "nowhere", far, bob, "10", list("ABSENT")},
		{"older incarnation", "lobby", far, bob, "9", list("FENCED inc")},
		{"lease over", "lobby", past, bob, "10", refused("FENCED lease")},
		{"wrong type", "text", far, bob, "10", list("BROKEN")},
		{"wrong revision", "marked", far, bob, "10", list("BROKEN")},
		{"wrong member", "odd", far, bob, "10", list("BROKEN")},
	} {
		e.want(c.name, e.run("update", []string{e.members(c.room)}, c.until, 0, stamp,
			e.feed("lobby"), c.conn, c.inc, 0, tail), c.want)
	}
	e.want("events", l.lines(), []string(nil))
	e.want("members", e.hash(e.members("lobby")), before)
	e.want("an empty room's key", e.must("EXISTS", e.members("nowhere")), int64(0))
}

func TestUpdateJumpsToTheFloorAndOverAMissingRevision(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	l := e.listen(feed)
	e.want("update", e.run("update", key, far, first+100, stamp, feed, bob, 7, 0, tail), list(first+100))
	line, _ := l.lineAndTime()
	e.want("event", line, fmt.Sprintf("update %d %d %s MS - %s", first+100, first, bob, e.hash(e.members("lobby"))[bob]))

	e.must("HDEL", e.members("lobby"), "#")
	from := e.now()
	rev := e.number("update", e.one("update", e.run("update", key, far, 0, stamp, feed, bob, 7, 0, tail)))
	e.within("revision", rev/1000, from, e.now())
	line, _ = l.lineAndTime()
	e.want("event", line, fmt.Sprintf("update %d 1 %s MS - %s", rev, bob, e.hash(e.members("lobby"))[bob]))
}

func TestUpdateOfSixteen(t *testing.T) {
	e := newEnv(t)
	var keys []string
	args := []any{far, 0, stamp}
	var want []any
	rev := e.join("lobby", bob, "7", tail)
	e.must("SET", e.p+":{app1:lobby}:broken", "x")
	for i := range 16 {
		key, conn := e.members("lobby"), bob
		switch i {
		case 2:
			key = e.p + ":{app1:lobby}:broken"
			want = append(want, "BROKEN")
		case 9:
			conn = eve
			want = append(want, "ABSENT")
		default:
			rev++
			want = append(want, rev)
		}
		keys = append(keys, key)
		args = append(args, e.feed("lobby"), conn, 7, 0, fmt.Sprintf(`"client":"123","data":%d}`, i))
	}
	l := e.listen(e.feed("lobby"))
	e.want("update", e.run("update", keys, args...), list(want...))
	e.want("events", len(l.lines()), 14)
}
