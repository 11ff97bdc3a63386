package scripts

import (
	"fmt"
	"strings"
	"testing"
)

func TestLeaveOfTheLastMemberDeletesTheRoom(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	first := e.join("lobby", bob, "7", tail)
	value := e.hash(e.members("lobby"))[bob]
	l := e.listen(feed)
	from := e.now()
	e.want("leave", e.run("leave", key, far, 0, feed, bob, 7, "left", ""), list(first+1))
	to := e.now()
	line, ms := l.lineAndTime()
	e.within("time of the leave", ms, from, to)
	e.want("event", line, fmt.Sprintf("leave %d %d %s MS left %s", first+1, first, bob, value))
	e.want("the room's key", e.must("EXISTS", e.members("lobby")), int64(0))
	e.want("leave again", e.run("leave", key, far, 0, feed, bob, 7, "left", ""), list(int64(0)))
	e.want("events of it", l.lines(), []string(nil))

	again := e.join("lobby", bob, "7", tail)
	if again <= first+1 {
		t.Errorf("the room refilled at revision %d, want above its last, %d", again, first+1)
	}
	line, _ = l.lineAndTime()
	e.want("event", line, fmt.Sprintf("join %d 0 %s MS - %s", again, bob, e.hash(e.members("lobby"))[bob]))
}

func TestLeaveKeepsTheOthersAndTellsItsOwnData(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	e.join("lobby", bob, "7", tail)
	e.join("lobby", eve, "7", `"client":"eve"}`)
	last := e.join("lobby", "3f0000000000000000aa", "7", `"client":"ann","data":[1]}`)
	before := e.hash(e.members("lobby"))
	l := e.listen(feed)
	for i, c := range []struct{ name, conn, data, want string }{
		{"data where there was none", eve, `{"bye":1}`, cutLast(before[eve]) + `,"data":{"bye":1}}`},
		{
			"data in place of the old", "3f0000000000000000aa", `null`,
			strings.Replace(before["3f0000000000000000aa"], "[1]", "null", 1),
		},
	} {
		rev := last + int64(i) + 1
		e.want(c.name, e.run("leave", key, far, 0, feed, c.conn, 7, "room_left", c.data), list(rev))
		line, _ := l.lineAndTime()
		e.want("event", line, fmt.Sprintf("leave %d %d %s MS room_left %s", rev, rev-1, c.conn, c.want))
	}
	e.want("members", e.hash(e.members("lobby")), map[string]string{"#": fmt.Sprint(last + 2), bob: before[bob]})
}

func cutLast(s string) string { return s[:len(s)-1] }

func TestLeaveIsRefused(t *testing.T) {
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
		{"nobody", "lobby", far, eve, "10", list(int64(0))},
		{"empty room", "nowhere", far, bob, "10", list(int64(0))},
		{"older incarnation", "lobby", far, bob, "9", list("FENCED inc")},
		{"lease over", "lobby", past, bob, "10", refused("FENCED lease")},
		{"wrong type", "text", far, bob, "10", list("BROKEN")},
		{"wrong revision", "marked", far, bob, "10", list("BROKEN")},
		{"wrong member", "odd", far, bob, "10", list("BROKEN")},
	} {
		e.want(c.name, e.run("leave", []string{e.members(c.room)}, c.until, 0,
			e.feed("lobby"), c.conn, c.inc, "left", ""), c.want)
	}
	e.want("events", l.lines(), []string(nil))
	e.want("members", e.hash(e.members("lobby")), before)
}

func TestLeaveByANewerIncarnationIsAllowed(t *testing.T) {
	e := newEnv(t)
	first := e.join("lobby", bob, "7", tail)
	e.want("leave", e.run("leave", []string{e.members("lobby")}, far, 0, e.feed("lobby"), bob, 9, "timeout", ""), list(first+1))
}

func TestLeaveJumpsToTheFloorAndOverAMissingRevision(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	first := e.join("lobby", bob, "7", tail)
	e.join("lobby", eve, "7", tail)
	value := e.hash(e.members("lobby"))[bob]
	l := e.listen(feed)
	e.want("leave", e.run("leave", key, far, first+50, feed, eve, 7, "left", ""), list(first+50))
	l.lines()
	e.must("HDEL", e.members("lobby"), "#")
	from := e.now()
	rev := e.number("leave", e.one("leave", e.run("leave", key, far, 0, feed, bob, 7, "left", "")))
	e.within("revision", rev/1000, from, e.now())
	line, _ := l.lineAndTime()
	e.want("event", line, fmt.Sprintf("leave %d 1 %s MS left %s", rev, bob, value))
	e.want("the room's key", e.must("EXISTS", e.members("lobby")), int64(0))
}

func TestLeaveOfSixteen(t *testing.T) {
	e := newEnv(t)
	var keys []string
	args := []any{far, 0}
	var want []any
	rev := int64(0)
	for i := range 16 {
		rev = e.join("lobby", fmt.Sprintf("%020x", i), "7", tail)
	}
	e.must("SET", e.p+":{app1:lobby}:broken", "x")
	for i := range 16 {
		key, inc := e.members("lobby"), "7"
		switch i {
		case 2:
			key = e.p + ":{app1:lobby}:broken"
			want = append(want, "BROKEN")
		case 9:
			inc = "6"
			want = append(want, "FENCED inc")
		default:
			rev++
			want = append(want, rev)
		}
		keys = append(keys, key)
		args = append(args, e.feed("lobby"), fmt.Sprintf("%020x", i), inc, "left", "")
	}
	l := e.listen(e.feed("lobby"))
	e.want("leave", e.run("leave", keys, args...), list(want...))
	e.want("events", len(l.lines()), 14)
	e.want("fields that stay: revision and two members", len(e.hash(e.members("lobby"))), 3)
}
