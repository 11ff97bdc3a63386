package scripts

import (
	"fmt"
	"testing"
)

func TestMarkLiftsTheRevisionOnce(t *testing.T) {
	e := newEnv(t)
	key, feed := []string{e.members("lobby")}, e.feed("lobby")
	first := e.join("lobby", bob, "7", tail)
	value := e.hash(e.members("lobby"))[bob]
	l := e.listen(feed)
	from := e.now()
	e.want("mark", e.run("mark", key, far, feed, first+1000), list(first+1000))
	to := e.now()
	line, ms := l.lineAndTime()
	e.within("time of the mark", ms, from, to)
	e.want("event", line, fmt.Sprintf("mark %d %d - MS - -", first+1000, first))
	e.want("members", e.hash(e.members("lobby")), map[string]string{"#": fmt.Sprint(first + 1000), bob: value})

	e.want("mark again", e.run("mark", key, far, feed, first+1000), list(first+1000))
	e.want("mark lower", e.run("mark", key, far, feed, first), list(first+1000))
	e.want("events", l.lines(), []string(nil))
}

func TestMarkIsRefused(t *testing.T) {
	e := newEnv(t)
	rev := e.join("lobby", bob, "7", tail)
	broken, marked, nowhere := e.p+":{app1:lobby}:broken", e.p+":{app1:lobby}:marked", e.p+":{app1:lobby}:nowhere"
	e.must("SET", broken, "x")
	e.must("HSET", marked, "#", "x")
	l := e.listen(e.feed("lobby"))
	keys := []string{broken, marked, nowhere, e.members("lobby")}
	feed := e.feed("lobby")
	e.want("mark", e.run("mark", keys, far, feed, rev+5, feed, rev+5, feed, rev+5, feed, rev+5),
		list("BROKEN", "BROKEN", int64(0), rev+5))
	e.want("events", len(l.lines()), 1)
	e.want("mark after the lease", e.run("mark", keys, past, feed, rev+9, feed, rev+9, feed, rev+9, feed, rev+9), refused("FENCED lease"))
	e.want("events", len(l.lines()), 0)
	e.want("an empty room's key", e.must("EXISTS", nowhere), int64(0))
}
