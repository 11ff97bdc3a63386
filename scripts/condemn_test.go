package scripts

import (
	"fmt"
	"testing"
)

func (e *env) condemn(stamp string, skew int) any {
	e.t.Helper()
	return e.run("condemn", []string{e.nodes("lease:" + stamp), e.nodes("registry"), e.nodes("due"), e.nodes("reaping")}, stamp, skew, 5000)
}

func TestCondemnTakesALapsedStampAwayOnce(t *testing.T) {
	e := newEnv(t)
	s, _ := e.register()
	e.beat(s, nodeValue)
	end := e.now() - 100
	e.must("ZADD", e.nodes("due"), end, s)
	e.must("DEL", e.nodes("lease:"+s))
	from := e.now()
	e.want("condemn", e.condemn(s, 0), end)
	to := e.now()
	e.want("registry", e.hash(e.nodes("registry")), map[string]string{})
	deadline := e.score(e.nodes("due"), s)
	e.within("deadline of the reaper", deadline, from+5000, to+5000)
	e.want("reaping", e.hash(e.nodes("reaping")), map[string]string{s: fmt.Sprintf("%d %d", end, deadline-5000)})
	e.want("beat of the condemned", e.beat(s, nodeValue), refused("FENCED stamp"))

	e.want("condemn by another", e.condemn(s, 0), end)
	e.want("deadline: as it was", e.score(e.nodes("due"), s), deadline)
	e.must("ZADD", e.nodes("due"), 5, s) // the reaper died
	from = e.now()
	e.want("condemn after the reaper's time", e.condemn(s, 0), end)
	e.within("deadline of the next reaper", e.score(e.nodes("due"), s), from+5000, e.now()+5000)
	e.want("retire of the condemned", e.retire(s, 0), end)

	e.want("bury", e.bury(s), int64(1))
	e.want("condemn of the buried", e.condemn(s, 0), int64(0))
	e.want("it stays buried", e.must("EXISTS", e.nodes("reaping"), e.nodes("due")), int64(0))
}

func TestCondemnLeavesTheLivingAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		scene func(e *env, s string)
		skew  int
		want  bool
	}{
		{"a fresh lease", func(*env, string) {}, 0, false},
		{"deadline over, lease there", func(e *env, s string) { e.must("ZADD", e.nodes("due"), e.now()-100, s) }, 0, false},
		{"lease over, deadline not", func(e *env, s string) { e.must("DEL", e.nodes("lease:"+s)) }, 0, false},
		{"over, but not by the skew", func(e *env, s string) {
			e.must("DEL", e.nodes("lease:"+s))
			e.must("ZADD", e.nodes("due"), e.now()-100, s)
		}, 1_000_000, false},
		{"never heard of", func(e *env, s string) {
			e.must("DEL", e.nodes("lease:"+s))
			e.must("ZREM", e.nodes("due"), s)
		}, 0, false},
		{"over by the skew", func(e *env, s string) {
			e.must("DEL", e.nodes("lease:"+s))
			e.must("ZADD", e.nodes("due"), e.now()-501, s)
		}, 500, true},
	} {
		e := newEnv(t)
		s, _ := e.register()
		e.beat(s, nodeValue)
		c.scene(e, s)
		deadline := e.score(e.nodes("due"), s)
		end := e.number(c.name, e.condemn(s, c.skew))
		e.want(c.name+": condemned", end != 0, c.want)
		e.want(c.name+": in the registry", e.hash(e.nodes("registry"))[s] != "", !c.want)
		if !c.want {
			e.want(c.name+": deadline", e.score(e.nodes("due"), s), deadline)
			e.want(c.name+": reaping", e.must("EXISTS", e.nodes("reaping")), int64(0))
		}
	}
}

func TestCondemnNamesTheKeyThatIsBroken(t *testing.T) {
	for _, broken := range []string{"registry", "due", "reaping"} {
		e := newEnv(t)
		s, _ := e.register()
		e.must("ZADD", e.nodes("due"), 5, s)
		e.must("DEL", e.nodes(broken))
		e.must("SET", e.nodes(broken), "x")
		e.want("with a broken "+broken, e.condemn(s, 0), refused("BROKEN "+broken))
	}
	e := newEnv(t)
	e.must("HSET", e.nodes("reaping"), "n1.1", "x")
	e.want("with a broken entry", e.condemn("n1.1", 0), refused("BROKEN reaping"))
}
