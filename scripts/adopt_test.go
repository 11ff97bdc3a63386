package scripts

import (
	"fmt"
	"strings"
	"testing"
)

// adopt takes a membership over for n2.1 and returns the answer.
func (e *env) adopt(room, conn string, inc, from any) any {
	e.t.Helper()
	return e.one("adopt", e.run("adopt", []string{e.members(room)}, far, "n2.1", conn, inc, from))
}

func TestAdoptChangesIncAndNodeInSilence(t *testing.T) {
	for _, tail := range []string{tail, `"client":"123"}`, `"client":"a\",\"at\":5,\"","data":{"rev":1,"inc":2,"node":"x"}}`} {
		e := newEnv(t)
		rev := e.join("lobby", bob, "7", tail)
		at := rev / 1000
		l := e.listen(e.feed("lobby"))
		want := fmt.Sprintf(`{"rev":%d,"inc":9,"node":"n2.1","at":%d,%s`, rev, at, tail)
		for _, doing := range []string{"adopt", "adopt after an answer that was lost"} {
			e.want(doing, e.adopt("lobby", bob, 9, 7), want)
			e.want("members", e.hash(e.members("lobby")), map[string]string{"#": fmt.Sprint(rev), bob: want})
		}
		e.want("events", len(l.lines()), 0)
		e.want("join by the old node", e.run("join", []string{e.members("lobby")}, far, 0, stamp, 0, e.feed("lobby"), bob, 7, 0, tail),
			list("FENCED inc"))
		e.want("leave by the old node", e.run("leave", []string{e.members("lobby")}, far, 0, e.feed("lobby"), bob, 7, "left", ""),
			list("FENCED inc"))
	}
}

func TestAdoptIsRefused(t *testing.T) {
	e := newEnv(t)
	e.join("lobby", bob, "10", tail)
	e.must("SET", e.members("text"), "x")
	e.must("HSET", e.members("odd"), "#", "5", bob, "x")
	before := e.hash(e.members("lobby"))
	for _, c := range []struct {
		name, room, conn string
		inc, from        int
		want             any
	}{
		{"nobody", "lobby", eve, 11, 10, int64(0)},
		{"empty room", "nowhere", bob, 11, 10, int64(0)},
		{"older incarnation", "lobby", bob, 9, 9, "FENCED inc"},
		{"left over from an earlier life", "lobby", bob, 12, 11, "OLD"},
		{"wrong type", "text", bob, 11, 10, "BROKEN"},
		{"wrong member", "odd", bob, 11, 10, "BROKEN"},
	} {
		e.want(c.name, e.adopt(c.room, c.conn, c.inc, c.from), c.want)
	}
	e.want("lease over", e.run("adopt", []string{e.members("lobby")}, past, "n2.1", bob, 11, 10), refused("FENCED lease"))
	e.want("members", e.hash(e.members("lobby")), before)
	e.want("an empty room's key", e.must("EXISTS", e.members("nowhere")), int64(0))
}

func TestAdoptOfSixteen(t *testing.T) {
	e := newEnv(t)
	var keys []string
	args := []any{far, "n2.1"}
	var want []any
	for i := range 16 {
		key, conn := e.members("lobby"), fmt.Sprintf("%020x", i)
		switch i {
		case 3:
			key = e.p + ":{app1:lobby}:broken"
			e.must("SET", key, "x")
			want = append(want, "BROKEN")
		case 9:
			want = append(want, int64(0))
		default:
			e.join("lobby", conn, "7", tail)
			value := e.must("HGET", key, conn).(string)
			want = append(want, strings.Replace(value, `"inc":7,"node":"n1.5"`, `"inc":9,"node":"n2.1"`, 1))
		}
		keys, args = append(keys, key), append(args, conn, 9, 7)
	}
	e.want("adopt", e.run("adopt", keys, args...), list(want...))
}
