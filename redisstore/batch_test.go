package redisstore

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	presence "presencesets"
)

// plan puts operations, written as kind letter and connection digit, into a
// batch and returns its runs in the same form.
func plan(ops ...string) string {
	b := newBatch(nil)
	b.reset()
	for _, text := range ops {
		b.add(task{op: parseOp(text)})
	}
	var runs []string
	for _, r := range b.runs {
		var names []string
		for _, t := range r.tasks {
			names = append(names, t.op.Room)
		}
		runs = append(runs, strings.Join(names, " "))
	}
	return strings.Join(runs, " | ")
}

func parseOp(text string) *presence.Op {
	kinds := map[byte]presence.OpKind{
		'j': presence.OpJoin, 'u': presence.OpUpdate, 'l': presence.OpLeave,
		't': presence.OpTrack, 'c': presence.OpCount,
	}
	return &presence.Op{Kind: kinds[text[0]], Room: text, Conn: presence.ConnID{text[1]}}
}

func TestOperationsOfOneKindTravelTogether(t *testing.T) {
	for _, tc := range []struct{ ops, want string }{
		{"j1", "j1"},
		{"j1 u2 j3 l1 j4", "j1 j3 j4 | u2 | l1"},
		{"j1 u1 j1", "j1 | u1 | j1"},
		{"j1 u2 j2 j3", "j1 | u2 | j2 j3"},
		{"t1 t2 j1 j2", "t1 | t2 | j1 j2"},
		{"j1 t2 j2", "j1 | t2 | j2"},
		{"j1 j1 j1", "j1 j1 j1"},
		{"u1 j2 u2 j1", "u1 | j2 j1 | u2"},
	} {
		if got := plan(strings.Fields(tc.ops)...); got != tc.want {
			t.Errorf("runs of %s: got %s, want %s", tc.ops, got, tc.want)
		}
	}
	many := strings.Fields(strings.Repeat("j1 ", runOps+1))
	if got := strings.Count(plan(many...), "|"); got != 1 {
		t.Errorf("%d joins are cut %d times, want once", len(many), got)
	}
}

func TestABatchKeepsTheOrderOfEachConnection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := rapid.SliceOfN(rapid.StringMatching(`[jultc][1-5]`), 1, 100).Draw(t, "ops")
		want := make(map[byte]string)
		for _, op := range ops {
			want[op[1]] += op + " "
		}
		got := make(map[byte]string)
		for _, op := range strings.Fields(strings.ReplaceAll(plan(ops...), "|", " ")) {
			got[op[1]] += op + " "
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("order by connection: got %v, want %v", got, want)
		}
	})
}

func TestAFifoGivesBackWhatItTook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo
		var want []int64
		next := int64(1)
		for _, push := range rapid.SliceOfN(rapid.Bool(), 1, 500).Draw(t, "pushes") {
			if push || len(want) == 0 {
				q.push(task{at: next})
				want = append(want, next)
				next++
				continue
			}
			if got := q.pop().at; got != want[0] {
				t.Fatalf("pop: got %d, want %d", got, want[0])
			}
			want = want[1:]
		}
		if q.len() != len(want) {
			t.Fatalf("len: got %d, want %d", q.len(), len(want))
		}
	})
}
