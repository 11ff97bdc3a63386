package scripts

import (
	"fmt"
	"testing"
)

const nodeValue = `{"addr":"127.0.0.1:9000","started":1795569460002,"version":"dev"}`

// register takes a stamp for n1 and returns it with Redis's time.
func (e *env) register() (string, int64) {
	e.t.Helper()
	reply, ok := e.run("register", []string{e.nodes("epochs"), e.nodes("registry"), e.nodes("due")}, "n1", 6000, nodeValue).([]any)
	if !ok || len(reply) != 2 {
		e.t.Fatalf("register answered %#v, want a stamp and a time", reply)
	}
	return reply[0].(string), e.number("register", reply[1])
}

func (e *env) beat(stamp string, value string) any {
	e.t.Helper()
	return e.run("beat", []string{e.nodes("lease:" + stamp), e.nodes("registry"), e.nodes("due")}, stamp, 6000, value)
}

func (e *env) retire(stamp string, ttl int) any {
	e.t.Helper()
	return e.run("retire", []string{e.nodes("lease:" + stamp), e.nodes("registry"), e.nodes("due"), e.nodes("reaping")}, stamp, ttl, 5000)
}

func (e *env) bury(stamp string) any {
	e.t.Helper()
	return e.run("bury", []string{e.nodes("reaping"), e.nodes("due")}, stamp)
}

func TestRegisterNeverGivesAStampTwice(t *testing.T) {
	e := newEnv(t)
	from := e.now()
	first, at := e.register()
	e.want("first stamp", first, "n1.1")
	e.within("now", at, from, e.now())
	e.want("due", e.score(e.nodes("due"), first), at+6000)
	e.want("retire", e.retire(first, 0) != int64(0), true)
	e.want("bury", e.bury(first), int64(1))
	second, _ := e.register()
	e.want("second stamp", second, "n1.2")
	e.want("registry", e.hash(e.nodes("registry")), map[string]string{"n1.2": nodeValue})
	e.want("epochs", e.hash(e.nodes("epochs")), map[string]string{"n1": "2"})
	e.want("a lease: only by beat", e.must("EXISTS", e.nodes("lease:n1.2")), int64(0))
}

func TestBeatRenewsTheLease(t *testing.T) {
	e := newEnv(t)
	s, _ := e.register()
	for range 2 {
		from := e.now()
		reply := e.beat(s, `{"connections":1}`).([]any)
		at := e.number("beat", reply[0])
		e.within("now", at, from, e.now())
		e.want("validUntil", reply[1], at+6000)
		e.want("due", e.score(e.nodes("due"), s), at+6000)
		e.want("lease", e.must("GET", e.nodes("lease:"+s)), fmt.Sprint(at))
		e.within("TTL of the lease", e.must("PTTL", e.nodes("lease:"+s)).(int64), 1, 6000)
	}
	e.want("registry", e.hash(e.nodes("registry")), map[string]string{s: `{"connections":1}`})
	e.must("DEL", e.nodes("lease:"+s)) // it lapsed, and nobody condemned it
	if _, ok := e.beat(s, nodeValue).([]any); !ok {
		t.Error("a lapsed lease did not revive")
	}
}

func TestBeatOfAStrangerIsRefused(t *testing.T) {
	e := newEnv(t)
	e.want("never registered", e.beat("n9.1", nodeValue), refused("FENCED stamp"))
	s, _ := e.register()
	e.beat(s, nodeValue)
	e.retire(s, 0)
	e.want("retired", e.beat(s, nodeValue), refused("FENCED stamp"))
	e.want("its lease", e.must("EXISTS", e.nodes("lease:"+s)), int64(0))
}

func TestRetireEndsTheLeaseByConsent(t *testing.T) {
	e := newEnv(t)
	s, _ := e.register()
	e.beat(s, nodeValue)
	from := e.now()
	end := e.number("retire", e.retire(s, 1500))
	e.within("lease end", end, from+1500, e.now()+1500)
	e.want("lease", e.must("EXISTS", e.nodes("lease:"+s)), int64(0))
	e.want("registry", e.hash(e.nodes("registry")), map[string]string{})
	e.want("reaping", e.hash(e.nodes("reaping")), map[string]string{s: fmt.Sprintf("%d %d", end, end-1500)})
	deadline := e.score(e.nodes("due"), s)
	e.want("deadline of the reaper", deadline, end-1500+5000)

	e.want("retire again", e.retire(s, 9999), end)
	e.want("deadline: as it was", e.score(e.nodes("due"), s), deadline)
	e.must("ZADD", e.nodes("due"), 5, s) // the reaper died
	from = e.now()
	e.want("retire after the reaper's time", e.retire(s, 9999), end)
	e.within("deadline of the next reaper", e.score(e.nodes("due"), s), from+5000, e.now()+5000)

	e.want("bury", e.bury(s), int64(1))
	e.want("reaping, due", e.must("EXISTS", e.nodes("reaping"), e.nodes("due")), int64(0))
	e.want("bury again", e.bury(s), int64(0))
	e.want("retire of the buried", e.retire(s, 0), int64(0))
	e.want("it stays buried", e.must("EXISTS", e.nodes("reaping"), e.nodes("due")), int64(0))
}

func TestBuryLeavesTheLivingAlone(t *testing.T) {
	e := newEnv(t)
	s, at := e.register()
	e.want("bury", e.bury(s), int64(0))
	e.want("due", e.score(e.nodes("due"), s), at+6000)
}

func TestNodeScriptsNameTheKeyThatIsBroken(t *testing.T) {
	for _, c := range []struct {
		broken string
		run    func(e *env, s string) any
	}{
		{"epochs", func(e *env, s string) any {
			return e.run("register", []string{e.nodes("epochs"), e.nodes("registry"), e.nodes("due")}, "n1", 6000, "{}")
		}},
		{"registry", func(e *env, s string) any {
			return e.run("register", []string{e.nodes("epochs"), e.nodes("registry"), e.nodes("due")}, "n1", 6000, "{}")
		}},
		{"due", func(e *env, s string) any {
			return e.run("register", []string{e.nodes("epochs"), e.nodes("registry"), e.nodes("due")}, "n1", 6000, "{}")
		}},
		{"registry", func(e *env, s string) any { return e.beat(s, "{}") }},
		{"due", func(e *env, s string) any { return e.beat(s, "{}") }},
		{"registry", func(e *env, s string) any { return e.retire(s, 0) }},
		{"due", func(e *env, s string) any { return e.retire(s, 0) }},
		{"reaping", func(e *env, s string) any { return e.retire(s, 0) }},
		{"reaping", func(e *env, s string) any { return e.bury(s) }},
		{"due", func(e *env, s string) any {
			e.must("HSET", e.nodes("reaping"), s, "1 1")
			return e.bury(s)
		}},
	} {
		e := newEnv(t)
		s, _ := e.register()
		e.must("DEL", e.nodes(c.broken))
		e.must("SET", e.nodes(c.broken), "x")
		e.want("with a broken "+c.broken, c.run(e, s), refused("BROKEN "+c.broken))
	}
}
