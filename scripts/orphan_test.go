package scripts

import (
	"fmt"
	"testing"
)

// orphan begins the grace of the connections of stamp, whose lease of 6 s
// ended at end, and returns how many there were.
func (e *env) orphan(end int64, graceMs int, conns ...string) any {
	e.t.Helper()
	keys, args := []string{e.index(), e.shard("due")}, []any{stamp, "node_lost", end, 6000, graceMs}
	for _, c := range conns {
		keys = append(keys, e.session(c), e.grace(c))
		args = append(args, c)
	}
	return e.run("orphan", keys, args...)
}

func TestOrphanBeginsTheGraceAsOfTheLastBeat(t *testing.T) {
	for _, c := range []struct {
		name    string
		own     int // the session's grace
		graceMs int
		after   int64 // deadline less the lease's end
		key     bool  // the grace key is there
	}{
		{"grace above the lease's length", 10000, 0, 4000, true},
		{"grace below it: at once", 5000, 0, 0, false},
		{"grace of a drain", 5000, 20000, 14000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			inc := e.open(bob)
			e.must("HSET", e.session(bob), "grace", c.own)
			end := e.now() - 100
			e.want("orphan", e.orphan(end, c.graceMs, bob), int64(1))
			deadline := end + c.after
			want := sessionOf(inc, "grace", fmt.Sprint(c.own), "state", "grace", "why", "node_lost", "due", fmt.Sprint(deadline))
			e.want("session", e.hash(e.session(bob)), want)
			e.want("due", e.score(e.shard("due"), bob), deadline)
			e.want("index", e.must("EXISTS", e.index()), int64(0))
			if c.key {
				e.want("grace key", e.must("GET", e.grace(bob)), fmt.Sprint(inc))
				e.want("its end", e.must("PEXPIRETIME", e.grace(bob)), deadline)
			} else {
				e.want("grace key", e.must("EXISTS", e.grace(bob)), int64(0))
			}

			e.want("orphan again", e.orphan(end+5000, 0, bob), int64(0))
			e.want("session", e.hash(e.session(bob)), want)
			e.want("due", e.score(e.shard("due"), bob), deadline)
		})
	}
}

func TestOrphanLeavesTheOthersAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		scene []any
	}{
		{"on another node", []any{"node", "n2.1"}},
		{"in grace", []any{"state", "grace", "due", "5"}},
		{"leaving", []any{"state", "leaving", "why", "closed"}},
		{"away", []any{"state", "away", "why", "closed"}},
		{"held", []any{"state", "held", "node", ""}},
	} {
		e := newEnv(t)
		e.open(bob)
		e.must(append([]any{"HSET", e.session(bob)}, c.scene...)...)
		before := e.hash(e.session(bob))
		e.want(c.name+": orphan", e.orphan(e.now(), 0, bob), int64(0))
		e.want(c.name+": session", e.hash(e.session(bob)), before)
		e.want(c.name+": index, due, grace", e.must("EXISTS", e.index(), e.shard("due"), e.grace(bob)), int64(0))
	}
}

func TestOrphanOfManyWithSomeBroken(t *testing.T) {
	e := newEnv(t)
	var conns []string
	for i := range 200 {
		conns = append(conns, fmt.Sprintf("3f%018x", i))
		e.open(conns[i])
	}
	e.must("DEL", e.session(conns[3]))
	e.must("DEL", e.session(conns[4]))
	e.must("SET", e.session(conns[4]), "x")
	e.must("HDEL", e.session(conns[5]), "inc")
	e.must("HDEL", e.session(conns[6]), "grace") // counts as none
	end := e.now() + 50_000
	e.want("orphan", e.orphan(end, 0, conns...), int64(197))
	e.want("index", e.must("EXISTS", e.index()), int64(0))
	e.want("due", e.must("ZCARD", e.shard("due")), int64(197))
	e.want("deadline without a grace", e.score(e.shard("due"), conns[6]), end)
	e.want("the last", e.hash(e.session(conns[199]))["state"], "grace")
	e.want("grace key of the last", e.must("EXISTS", e.grace(conns[199])), int64(1))
}

func TestOrphanOfNobody(t *testing.T) {
	e := newEnv(t)
	e.want("orphan", e.orphan(5, 0), int64(0))
}

func TestOrphanNamesTheKeyThatIsBroken(t *testing.T) {
	for _, broken := range []string{"index", "due"} {
		e := newEnv(t)
		e.open(bob)
		before := e.hash(e.session(bob))
		key := map[string]string{"index": e.index(), "due": e.shard("due")}[broken]
		e.must("DEL", key)
		e.must("SET", key, "x")
		e.want("with a broken "+broken, e.orphan(5, 0, bob), refused("BROKEN "+broken))
		e.want("session", e.hash(e.session(bob)), before)
	}
}
