package scripts

import (
	"fmt"
	"testing"
)

// claim claims conns and returns the claim time and, for each that the answer
// has, its fields, or the word that stands for them.
func (e *env) claim(conns ...string) (at int64, got map[string]any) {
	e.t.Helper()
	keys, args := []string{e.shard("due")}, []any{5000}
	for _, c := range conns {
		keys = append(keys, e.session(c), e.grace(c))
		args = append(args, c)
	}
	reply, ok := e.run("claim", keys, args...).([]any)
	if !ok || len(reply)%2 != 1 {
		e.t.Fatalf("claim answered %#v, want a time and pairs", reply)
	}
	got = map[string]any{}
	for i := 1; i < len(reply); i += 2 {
		if word, ok := reply[i+1].(string); ok {
			got[reply[i].(string)] = word
			continue
		}
		got[reply[i].(string)] = e.fields("claim", reply[i+1])
	}
	return e.number("claim", reply[0]), got
}

// due puts a session into a state, with its deadline `ago` ms in the past.
func (e *env) due(conn, state string, ago int64, more ...any) {
	e.t.Helper()
	e.must(append([]any{"HSET", e.session(conn), "inc", 7, "state", state, "node", stamp}, more...)...)
	e.must("ZADD", e.shard("due"), e.now()-ago, conn)
}

func TestClaimTakesWhatIsDueOnce(t *testing.T) {
	e := newEnv(t)
	e.due(bob, "grace", 1, "room:app1:lobby", "p 0 {}", "due", "5")
	e.must("SET", e.grace(bob), 7, "PX", 100000)
	from := e.now()
	at, got := e.claim(bob)
	e.within("claim time", at, from, e.now())
	want := map[string]string{"inc": "7", "state": "leaving", "node": stamp, "room:app1:lobby": "p 0 {}", "due": "5", "why": "timeout"}
	e.want("claim", got, map[string]any{bob: want})
	e.want("session", e.hash(e.session(bob)), want)
	e.want("deadline of the claimer", e.score(e.shard("due"), bob), at+5000)
	e.want("grace key", e.must("EXISTS", e.grace(bob)), int64(0))

	_, got = e.claim(bob)
	e.want("claim again", got, map[string]any{})
	e.must("ZADD", e.shard("due"), e.now()-1, bob) // the first claimer died
	_, got = e.claim(bob)
	e.want("claim after claimMs", got, map[string]any{bob: want})
}

func TestClaimByState(t *testing.T) {
	for _, c := range []struct {
		name, state string
		more        []any
		want        string // state of the answer; "": none
		why         string
		session     string // state afterwards; "": deleted
		listed      bool
	}{
		{"grace", "grace", nil, "leaving", "timeout", "leaving", true},
		{"grace of a lost node", "grace", []any{"why", "node_lost"}, "leaving", "node_lost", "leaving", true},
		{"leaving, its claimer died", "leaving", []any{"why", "closed"}, "leaving", "closed", "leaving", true},
		{"held", "held", nil, "leaving", "expired", "leaving", true},
		{"live: resumed meanwhile", "live", nil, "", "", "live", false},
		{"away: its retention is over", "away", []any{"why", "timeout"}, "gone", "timeout", "", false},
		{"away, at its fence", "away", []any{"why", "closed", "fence", "5"}, "leaving", "closed", "leaving", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			e.due(bob, c.state, 1, c.more...)
			at, got := e.claim(bob)
			fields, _ := got[bob].(map[string]string)
			e.want("state and why", []string{fields["state"], fields["why"]}, []string{c.want, c.why})
			e.want("session", e.hash(e.session(bob))["state"], c.session)
			want := int64(0)
			if c.listed {
				want = at + 5000
			}
			e.want("deadline", e.score(e.shard("due"), bob), want)
		})
	}
}

func TestClaimOfManyWithOneBroken(t *testing.T) {
	e := newEnv(t)
	conn := func(i int) string { return fmt.Sprintf("3f%018x", i) }
	var conns []string
	for i := range 100 {
		conns = append(conns, conn(i))
		e.due(conn(i), "grace", 1)
	}
	e.must("DEL", e.session(conn(3))) // nothing to do for this one
	e.must("SET", e.session(conn(4)), "x")
	e.must("HDEL", e.session(conn(5)), "inc")
	e.must("HDEL", e.session(conn(6)), "state")
	e.must("ZADD", e.shard("due"), far, conn(7)) // not due yet
	e.must("ZREM", e.shard("due"), conn(8))      // not listed
	at, got := e.claim(conns...)
	e.want("answers", len(got), 97)
	for _, i := range []int{4, 5, 6} {
		e.want(fmt.Sprintf("broken %d", i), got[conn(i)], "BROKEN")
		e.want("its deadline: it stays, and is looked at again", e.score(e.shard("due"), conn(i)), at+5000)
	}
	for _, i := range []int{3, 7, 8} {
		e.want(fmt.Sprintf("nothing to do %d", i), got[conn(i)], nil)
	}
	e.want("no session: not listed", e.score(e.shard("due"), conn(3)), int64(0))
	e.want("not due: as it was", fmt.Sprint(e.score(e.shard("due"), conn(7))), far)
	e.want("not due: state", e.hash(e.session(conn(7)))["state"], "grace")
	e.want("not listed: state", e.hash(e.session(conn(8)))["state"], "grace")
	e.want("the last", got[conn(99)].(map[string]string)["state"], "leaving")
}

func TestClaimOfABrokenDueIsAnErrorForAll(t *testing.T) {
	e := newEnv(t)
	e.must("SET", e.shard("due"), "x")
	e.want("claim", e.run("claim", []string{e.shard("due"), e.session(bob), e.grace(bob)}, 5000, bob), refused("BROKEN due"))
}
