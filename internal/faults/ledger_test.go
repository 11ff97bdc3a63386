package faults

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presencesets/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

func TestJudgeFindsWhatIsNotOneJoinAndOneLeave(t *testing.T) {
	n := func(leaves int) []told { return make([]told, leaves) }
	one := []end{{kind: left}}
	for name, c := range map[string]struct {
		s     seat
		t     tally
		exact bool
		want  verdict
	}{
		"a member":                         {seat{begun: 1, member: true}, tally{joins: 1}, true, verdict{}},
		"an ended one":                     {seat{begun: 1, ends: one}, tally{joins: 1, leaves: n(1)}, true, verdict{}},
		"left twice":                       {seat{begun: 1, ends: one}, tally{joins: 1, leaves: n(2)}, true, verdict{leaves: 1}},
		"never left":                       {seat{begun: 1, ends: one}, tally{joins: 1}, true, verdict{leaves: -1}},
		"joined twice":                     {seat{begun: 1, member: true}, tally{joins: 2}, true, verdict{joins: 1}},
		"untold":                           {seat{begun: 1, member: true}, tally{}, true, verdict{joins: -1}},
		"told gone":                        {seat{begun: 1, member: true}, tally{joins: 1, leaves: n(1)}, true, verdict{leaves: 1, gone: 1}},
		"flapped":                          {seat{begun: 1, member: true}, tally{joins: 2, leaves: n(1)}, true, verdict{joins: 0 + 1, leaves: 1, gone: 1}},
		"flapped, excused":                 {seat{begun: 1, member: true, flaps: 1}, tally{joins: 2, leaves: n(1)}, true, verdict{flapped: 1}},
		"excused once, flapped twice":      {seat{begun: 1, member: true, flaps: 1}, tally{joins: 3, leaves: n(2)}, true, verdict{joins: 1, leaves: 1, gone: 1, flapped: 1}},
		"excused, and did not flap":        {seat{begun: 1, member: true, flaps: 1}, tally{joins: 1}, true, verdict{}},
		"an unsure join that was none":     {seat{unsure: true}, tally{}, true, verdict{}},
		"an unsure join that was one":      {seat{unsure: true}, tally{joins: 1, leaves: n(1)}, true, verdict{}},
		"an unsure join that stayed":       {seat{unsure: true}, tally{joins: 1}, true, verdict{joins: 1}},
		"untold in a gap":                  {seat{begun: 2, ends: one, member: true}, tally{joins: 1}, false, verdict{}},
		"untold without a gap":             {seat{begun: 2, ends: one, member: true}, tally{joins: 1}, true, verdict{joins: -1, leaves: -1}},
		"a leave too many in spite of one": {seat{begun: 1, member: true}, tally{joins: 1, leaves: n(1)}, false, verdict{leaves: 1, gone: 1}},
	} {
		got := judge(&c.s, &c.t, c.exact)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(verdict{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLimitsMoveByTheFaultAndByNothingElse(t *testing.T) {
	now := time.Now()
	at := func(s float64) time.Time { return now.Add(time.Duration(s * float64(time.Second))) }
	tt := times{ttl: 2 * time.Second, beat: time.Second / 2, grace: 5 * time.Second, ping: 2 * time.Second, pong: time.Second}
	for name, c := range map[string]struct {
		h    hit
		e    end
		want float64
	}{
		"no fault":                     {hit{node: -1}, end{kind: timeout, cause: now}, 6},
		"a close, no fault":            {hit{node: -1}, end{kind: closed, cause: now}, 1},
		"Redis away":                   {hit{node: -1, redis: true, began: at(-1), repaired: at(2)}, end{kind: closed, cause: now}, 5},
		"Redis away, long before":      {hit{node: -1, redis: true, began: at(-20), repaired: at(-18)}, end{kind: closed, cause: now}, 1},
		"its node killed":              {hit{node: 1, began: now, repaired: now}, end{kind: nodeLost, cause: now, node: 1}, 7},
		"another node killed":          {hit{node: 1, began: now, repaired: now}, end{kind: closed, cause: now, node: 2}, 1},
		"closed on a node that sleeps": {hit{node: 1, began: at(-1), repaired: at(6)}, end{kind: closed, cause: now, node: 1}, 6},
	} {
		f := &field{times: tt, hit: c.h}
		if got := f.limit(c.e).Seconds(); got != c.want {
			t.Errorf("%s: limit %.2f s, want %.2f", name, got, c.want)
		}
	}
}

func TestAnObserverNoticesWhatDoesNotFit(t *testing.T) {
	f := &field{violations: map[string]int{}}
	o := &observer{f: f}
	v := &view{base: 10, rev: 10, members: map[string]string{"a": "1"}, tallies: map[string]*tally{}}
	take := func(kind, id string, rev int64) {
		var e frame
		e.Body.Event, e.Body.ID, e.Body.Revision, e.Body.Timestamp = kind, id, rev, "2026-01-01T00:00:00.000Z"
		o.take(v, time.Time{}, &e)
	}
	take("leave", "a", 10) // in the snapshot
	take("join", "b", 11)
	take("join", "b", 11)  // told again by a resume
	take("leave", "b", 12) // one repair, one revision
	take("leave", "a", 12)
	if len(f.violations) != 0 || o.twice != 2 || o.events != 3 || len(v.members) != 0 {
		t.Errorf("violations %v, %d twice, %d events, members %v; want none, 2, 3, none", f.violations, o.twice, o.events, v.members)
	}
	take("leave", "a", 13)
	take("update", "a", 14)
	take("join", "a", 15)
	want := map[string]int{"a leave of no member": 1, "an update of no member": 1, "a join of a member": 1}
	if diff := cmp.Diff(want, f.violations); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestTheStageRunsInOrderAndEnds(t *testing.T) {
	s := newStage()
	var got []int
	for i := range 100 {
		s.post(func() { got = append(got, i) })
	}
	s.do(func() {})
	for i, n := range got {
		if i != n {
			t.Fatalf("ran %v, want the order of the posts", got)
		}
	}
	if len(got) != 100 {
		t.Errorf("ran %d, want 100", len(got))
	}
	s.end()
	s.post(func() { t.Error("ran after the end") })
	s.do(func() { t.Error("ran after the end") })
}
