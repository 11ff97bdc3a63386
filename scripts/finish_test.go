package scripts

import (
	"fmt"
	"testing"
)

// finish ends the round of conn (inc 7) and returns the answer.
func (e *env) finish(claimed int64, conn string, retention int) any {
	e.t.Helper()
	return e.one("finish", e.run("finish", []string{e.shard("due"), e.session(conn), e.index()}, claimed, conn, 7, retention))
}

func TestFinishByReasonAndRooms(t *testing.T) {
	room := []any{"room:app1:lobby", "p 0 {}"}
	with := func(more ...any) []any { return append(more, room...) }
	for _, c := range []struct {
		name      string
		more      []any
		retention int
		want      string
	}{
		{"lost, with a room", with("why", "timeout"), 135000, "away"},
		{"lost, with a room and every other field", with("why", "timeout", "secret", "x", "due", "5"), 135000, "away"},
		{"its node was lost", with("why", "node_lost"), 135000, "away"},
		{"lost, without a room", []any{"why", "timeout", "secret", "x", "due", "5"}, 135000, "gone"},
		{"no retention", with("why", "timeout"), 0, "gone"},
		{"closed", with("why", "closed"), 135000, "gone"},
		{"kicked", with("why", "kicked"), 135000, "gone"},
		{"expired", with("why", "expired"), 135000, "gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			inc := e.open(bob)
			e.due(bob, "leaving", -5000, c.more...)
			e.must("HSET", e.index(), bob, inc, eve, 9)
			from := e.now()
			e.want("finish", e.finish(from, bob, c.retention), c.want)
			e.want("index", e.hash(e.index()), map[string]string{eve: "9"})
			if c.want == "gone" {
				e.want("session", e.must("EXISTS", e.session(bob)), int64(0))
				e.want("deadline", e.score(e.shard("due"), bob), int64(0))
			} else {
				e.want("state", e.hash(e.session(bob))["state"], "away")
				e.within("deadline", e.score(e.shard("due"), bob), from+135000, e.now()+135000)
			}
			e.want("finish again", e.finish(from, bob, c.retention), int64(0))
		})
	}
}

func TestFinishBeforeTheFenceForgetsNothing(t *testing.T) {
	e := newEnv(t)
	e.open(bob)
	now := e.now()
	fence := now + 1_000_000
	e.due(bob, "leaving", -5000, "why", "closed", "fence", fence, "room:app1:lobby", "p 0 {}")

	// A first round, begun by close (claim time 0) or by a claim before the fence.
	for _, claimed := range []int64{0, now, fence} {
		e.must("HSET", e.session(bob), "state", "leaving")
		e.want("finish", e.finish(claimed, bob, 0), "away")
		e.want("deadline: the fence", e.score(e.shard("due"), bob), fence)
		got := e.hash(e.session(bob))
		e.want("state, fence, room", []string{got["state"], got["fence"], got["room:app1:lobby"]},
			[]string{"away", fmt.Sprint(fence), "p 0 {}"})
		e.want("index", e.hash(e.index()), map[string]string{})
	}
	// At the fence it is claimed again: a second round.
	e.must("ZADD", e.shard("due"), now-1, bob)
	_, got := e.claim(bob)
	e.want("claim of an away session with a fence", got[bob].(map[string]string)["state"], "leaving")
	e.want("finish of the round that began after the fence", e.finish(fence+1, bob, 0), "gone")
	e.want("session", e.must("EXISTS", e.session(bob)), int64(0))
}

// The slow reaper: it claimed before the fence and finishes after it. The
// claim's time decides, so the leaves are made once more.
func TestFinishByTheTimeOfTheClaim(t *testing.T) {
	e := newEnv(t)
	e.open(bob)
	fence := e.now() - 1000 // over
	e.due(bob, "leaving", -5000, "why", "timeout", "fence", fence, "room:app1:lobby", "p 0 {}")
	e.want("finish of a claim before the fence", e.finish(fence-1, bob, 135000), "away")
	e.want("deadline: the fence, so now", e.score(e.shard("due"), bob), fence)

	claimed, _ := e.claim(bob)
	from := e.now()
	e.want("finish of a claim after it", e.finish(claimed, bob, 135000), "away")
	e.within("deadline: the retention", e.score(e.shard("due"), bob), from+135000, e.now()+135000)
	_, fenced := e.hash(e.session(bob))["fence"]
	e.want("fence is there", fenced, false)
}

func TestFinishIsRefused(t *testing.T) {
	e := newEnv(t)
	for _, state := range []string{"live", "grace", "away", "held"} {
		e.due(bob, state, 1)
		before := e.hash(e.session(bob))
		e.want("state "+state, e.finish(1, bob, 0), int64(0))
		e.want("session", e.hash(e.session(bob)), before)
	}
	e.want("no session", e.finish(1, eve, 0), int64(0))
	e.due(bob, "leaving", 1, "inc", 8)
	e.want("another incarnation", e.finish(1, bob, 0), int64(0))
	e.due(bob, "leaving", 1, "inc", 7, "fence", "x")
	e.want("wrong fence", e.finish(1, bob, 0), "BROKEN")
	e.must("HDEL", e.session(bob), "fence")
	e.must("SET", e.index(), "x")
	e.want("index of another type", e.finish(1, bob, 0), "BROKEN")
	e.want("state", e.hash(e.session(bob))["state"], "leaving")
	e.must("SET", e.shard("due"), "x")
	e.want("due of another type", e.run("finish", []string{e.shard("due"), e.session(bob), e.index()}, 1, bob, 7, 0), refused("BROKEN due"))
}

func TestFinishOfManyWithOneBroken(t *testing.T) {
	e := newEnv(t)
	keys, args := []string{e.shard("due")}, []any{1}
	var want []any
	for i := range 100 {
		conn := fmt.Sprintf("3f%018x", i)
		e.due(conn, "leaving", 1)
		e.must("HSET", e.index(), conn, 7)
		switch i {
		case 3:
			e.must("DEL", e.session(conn))
			e.must("SET", e.session(conn), "x")
			want = append(want, "BROKEN")
		case 4:
			e.must("HSET", e.session(conn), "state", "live")
			want = append(want, int64(0))
		case 5:
			e.must("HSET", e.session(conn), "why", "timeout", "room:app1:lobby", "p 0 {}",
				"app", "app1", "key", "app1.k1", "client", "1", "from", "7", "grace", "1")
			want = append(want, "away")
		default:
			want = append(want, "gone")
		}
		keys = append(keys, e.session(conn), e.index())
		args = append(args, conn, 7, 135000)
	}
	e.want("finish", e.run("finish", keys, args...), list(want...))
	e.want("connections in the index", len(e.hash(e.index())), 2)
	e.want("due", e.must("ZCARD", e.shard("due")), int64(3))
}
