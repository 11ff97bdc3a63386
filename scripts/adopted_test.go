package scripts

import "testing"

// adopted says that the adopts of a resume are answered, and returns the answer.
func (e *env) adopted(conn string, inc int64) any {
	e.t.Helper()
	return e.run("adopted", []string{e.session(conn)}, inc, far)
}

func TestAdoptedMovesFromUp(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.must("HSET", e.session(bob), "from", inc-1, "fence", 5)
	e.want("adopted", e.adopted(bob, inc), int64(1))
	e.want("adopted again", e.adopted(bob, inc), int64(1))
	e.want("session", e.hash(e.session(bob)), sessionOf(inc, "fence", "5"))
}

func TestAdoptedIsRefused(t *testing.T) {
	e := newEnv(t)
	inc := e.open(bob)
	e.must("HSET", e.session(bob), "from", inc-1)
	before := e.hash(e.session(bob))
	e.want("older incarnation", e.adopted(bob, inc-1), "FENCED inc")
	e.want("newer incarnation", e.adopted(bob, inc+1), "FENCED inc")
	e.want("no session", e.adopted(eve, inc), "FENCED inc")
	e.want("lease over", e.run("adopted", []string{e.session(bob)}, inc, past), refused("FENCED lease"))
	e.want("session", e.hash(e.session(bob)), before)
	e.want("no session was made", e.must("EXISTS", e.session(eve)), int64(0))

	e.must("SET", e.session(eve), "x")
	e.want("wrong type", e.adopted(eve, inc), "BROKEN")
	for _, state := range []string{"grace", "leaving", "away", "held"} {
		e.must("HSET", e.session(bob), "state", state)
		e.want("state "+state, e.adopted(bob, inc), "FENCED inc")
	}
}
