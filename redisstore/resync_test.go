package redisstore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	presence "presencesets"
)

// Short names for tables: connections are numbers, a member is rev and at.

func conn(n byte) presence.ConnID { return presence.ConnID{n} }

func member(n byte, rev presence.Revision, at int64) presence.Member {
	return presence.Member{Conn: conn(n), Revision: rev, At: at, Client: []byte(`"c"`)}
}

func known(last presence.Revision, members ...presence.Member) *replica {
	p := &replica{}
	p.adopt(presence.Snapshot{Revision: last, Members: members})
	p.last, p.settling, p.void, p.snapshots = last, false, false, 0
	return p
}

func event(kind presence.Kind, rev, prev presence.Revision, n byte, at int64) *presence.Event {
	e := &presence.Event{Kind: kind, Revision: rev, Prev: prev, Time: 1000, At: at, Client: []byte(`"c"`)}
	if kind != presence.KindMark {
		e.Conn = conn(n)
	}
	if kind == presence.KindLeave {
		e.Reason = presence.ReasonLeft
	}
	return e
}

// say writes events as text: kind, connection, revision, time, reason.
func say(events []*presence.Event) []string {
	var list []string
	for _, e := range events {
		s := fmt.Sprintf("%s %d @%d t%d", e.Kind, e.Conn[0], e.Revision, e.Time)
		if e.Reason != "" {
			s += " " + string(e.Reason)
		}
		list = append(list, s)
	}
	return list
}

func TestEventIsJudgedByTheTable(t *testing.T) {
	live, settling, void := known(10), known(10), known(10)
	settling.settling = true
	void.settling, void.void = true, true
	for _, tt := range []struct {
		state *replica
		kind  presence.Kind
		rev   presence.Revision
		prev  presence.Revision
		want  verdict
	}{
		{live, presence.KindUpdate, 11, 10, verdictApply},
		{live, presence.KindMark, 20, 10, verdictApply},
		{live, presence.KindUpdate, 20, 10, verdictApply}, // floor of a failover
		{live, presence.KindJoin, 50, 0, verdictFresh},
		{live, presence.KindJoin, 12, 11, verdictGap},
		{live, presence.KindJoin, 12, 9, verdictGap},
		{live, presence.KindMark, 12, 11, verdictGap},
		{live, presence.KindMark, 12, 0, verdictGap},
		{live, presence.KindJoin, 10, 9, verdictBack},
		{live, presence.KindJoin, 4, 0, verdictBack},
		{live, presence.KindMark, 9, 8, verdictBack},

		{settling, presence.KindUpdate, 11, 10, verdictApply},
		{settling, presence.KindUpdate, 12, 11, verdictGap},
		{settling, presence.KindJoin, 50, 0, verdictFresh},
		{settling, presence.KindJoin, 10, 9, verdictDrop},
		{settling, presence.KindJoin, 4, 0, verdictDrop},
		{settling, presence.KindMark, 9, 8, verdictDrop},

		{void, presence.KindLeave, 11, 10, verdictDrop}, // of the life that the snapshot saw ended
		{void, presence.KindLeave, 12, 11, verdictDrop},
		{void, presence.KindLeave, 9, 8, verdictDrop},
		{void, presence.KindJoin, 50, 0, verdictFresh},
		{void, presence.KindJoin, 4, 0, verdictBack},
	} {
		e := event(tt.kind, tt.rev, tt.prev, 1, 5)
		if got := tt.state.judge(e); got != tt.want {
			t.Errorf("at %d (settling %v, void %v), %s %d after %d: %v, want %v",
				tt.state.last, tt.state.settling, tt.state.void, tt.kind, tt.rev, tt.prev, got, tt.want)
		}
	}
}

func TestEventsAreToldAndKept(t *testing.T) {
	for name, tt := range map[string]struct {
		state *replica
		event *presence.Event
		want  []string
		after *replica
	}{
		"join": {
			known(10), event(presence.KindJoin, 11, 10, 1, 5),
			[]string{"join 1 @11 t1000"},
			known(11, member(1, 11, 5)),
		},
		"update": {
			known(10, member(1, 9, 5)), event(presence.KindUpdate, 11, 10, 1, 5),
			[]string{"update 1 @11 t1000"},
			known(11, member(1, 11, 5)),
		},
		"leave": {
			known(10, member(1, 9, 5)), event(presence.KindLeave, 11, 10, 1, 5),
			[]string{"leave 1 @11 t1000 left"},
			known(11),
		},
		"mark": {
			known(10, member(1, 9, 5)), event(presence.KindMark, 30, 10, 0, 0),
			nil, known(30, member(1, 9, 5)),
		},
		"a new life ends whom we knew": {
			known(10, member(2, 9, 5), member(1, 10, 6)), event(presence.KindJoin, 99, 0, 3, 7),
			[]string{"leave 2 @11 t1000 unknown", "leave 1 @11 t1000 unknown", "join 3 @99 t1000"},
			known(99, member(3, 99, 7)),
		},
		"a new life that an emptied room begins": {
			known(10), event(presence.KindJoin, 99, 0, 3, 7),
			[]string{"join 3 @99 t1000"},
			known(99, member(3, 99, 7)),
		},
		"a leave is told once": {known(10), event(presence.KindLeave, 11, 10, 1, 5), nil, known(11)},
		"another membership of a known connection": {
			known(10, member(1, 9, 5)), event(presence.KindJoin, 11, 10, 1, 6),
			[]string{"leave 1 @11 t1000 unknown", "join 1 @11 t1000"},
			known(11, member(1, 11, 6)),
		},
		"a join of the membership that we know is an update": {
			known(10, member(1, 9, 5)), event(presence.KindJoin, 11, 10, 1, 5),
			[]string{"update 1 @11 t1000"},
			known(11, member(1, 11, 5)),
		},
		"an update of an unknown member is its join": {
			known(10), event(presence.KindUpdate, 11, 10, 1, 5),
			[]string{"join 1 @11 t1000"},
			known(11, member(1, 11, 5)),
		},
		"a gap changes nothing":      {known(10, member(1, 9, 5)), event(presence.KindLeave, 12, 11, 1, 5), nil, known(10, member(1, 9, 5))},
		"a way back changes nothing": {known(10, member(1, 9, 5)), event(presence.KindLeave, 8, 7, 1, 5), nil, known(10, member(1, 9, 5))},
	} {
		var told []*presence.Event
		tt.state.take(tt.event, func(e *presence.Event) { told = append(told, e) })
		if diff := cmp.Diff(tt.want, say(told)); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tt.after, tt.state, cmp.AllowUnexported(replica{}, entry{})); diff != "" {
			t.Errorf("%s: replica after it (-want +got):\n%s", name, diff)
		}
	}
}

func TestSnapshotTellsTheDifferenceOnly(t *testing.T) {
	a, b := member(1, 8, 5), member(2, 9, 6)
	for name, tt := range map[string]struct {
		last  presence.Revision
		known []presence.Member
		rev   presence.Revision
		snap  []presence.Member
		want  []string
		mark  presence.Revision
	}{
		"nothing":                        {last: 10, known: []presence.Member{a, b}, rev: 10, snap: []presence.Member{b, a}},
		"nothing, higher":                {last: 10, known: []presence.Member{a, b}, rev: 14, snap: []presence.Member{b, a}},
		"nothing, empty":                 {last: 10},
		"nothing, lower":                 {last: 10, known: []presence.Member{a}, rev: 9, snap: []presence.Member{a}, mark: 10 + markAhead},
		"a difference at the same":       {last: 10, known: []presence.Member{a}, rev: 10, snap: []presence.Member{b}, mark: 10 + markAhead},
		"a difference, lower":            {last: 10, known: []presence.Member{a}, rev: 4, snap: []presence.Member{b}, mark: 10 + markAhead},
		"joins by revision, then leaves": {last: 10, known: []presence.Member{a, b}, rev: 20, snap: []presence.Member{member(3, 15, 700), member(4, 12, 600)}, want: []string{"join 4 @12 t600", "join 3 @15 t700", "leave 1 @20 t1000 unknown", "leave 2 @20 t1000 unknown"}},
		"update":                         {last: 10, known: []presence.Member{a, b}, rev: 20, snap: []presence.Member{member(1, 18, 5), b}, want: []string{"update 1 @18 t1000"}},
		"a lost update":                  {last: 10, known: []presence.Member{a, b}, rev: 20, snap: []presence.Member{member(1, 7, 5), b}, want: []string{"update 1 @20 t1000"}},
		"a lost update behind a join":    {last: 10, known: []presence.Member{a, b}, rev: 20, snap: []presence.Member{member(1, 7, 5), b, member(3, 19, 700)}, want: []string{"join 3 @19 t700", "update 1 @20 t1000"}},
		"a join from before last":        {last: 10, known: []presence.Member{a}, rev: 20, snap: []presence.Member{a, b}, want: []string{"join 2 @20 t6"}},
		"another membership":             {last: 10, known: []presence.Member{a}, rev: 20, snap: []presence.Member{member(1, 17, 900)}, want: []string{"leave 1 @17 t1000 unknown", "join 1 @17 t900"}},
		"empty":                          {last: 10, known: []presence.Member{b, a}, want: []string{"leave 1 @11 t1000 unknown", "leave 2 @11 t1000 unknown"}},
		"a room whose revision is gone":  {last: 10, known: []presence.Member{a}, snap: []presence.Member{b}, want: []string{"join 2 @11 t6", "leave 1 @11 t1000 unknown"}},
		"a member above its room":        {last: 10, known: []presence.Member{a}, rev: 12, snap: []presence.Member{a, member(3, 90, 700)}, want: []string{"join 3 @12 t700"}},
	} {
		p := known(tt.last, tt.known...)
		var told []*presence.Event
		mark := p.reconcile(presence.Snapshot{Revision: tt.rev, Members: tt.snap}, 1000, func(e *presence.Event) { told = append(told, e) })
		if mark != tt.mark {
			t.Errorf("%s: mark %d, want %d", name, mark, tt.mark)
		}
		if diff := cmp.Diff(tt.want, say(told)); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", name, diff)
		}
		prev := tt.last
		for _, e := range told {
			if e.Prev != prev {
				t.Errorf("%s: %s @%d says that %d was before it, want %d", name, e.Kind, e.Revision, e.Prev, prev)
			}
			prev = e.Revision
		}
		if p.last < prev || mark == 0 && p.last < tt.rev {
			t.Errorf("%s: last is %d after it", name, p.last)
		}
	}
}

func TestMissedIsToldFromLate(t *testing.T) {
	for _, tt := range []struct {
		replica *replica
		before  presence.Revision // last when `#` was read
		found   presence.Revision
		want    bool
	}{
		{known(10, member(1, 9, 5)), 10, 10, false},
		{known(12, member(1, 9, 5)), 10, 12, false}, // the events came behind the reading
		{known(15, member(1, 9, 5)), 10, 12, false},
		{known(12, member(1, 9, 5)), 10, 13, true},
		{known(12, member(1, 9, 5)), 10, 9, true},
		{known(12, member(1, 9, 5)), 10, -1, true},
		{known(10, member(1, 9, 5)), 10, 0, true},
		{known(50, member(1, 50, 5)), 10, 0, false}, // emptied and refilled
		{known(10), 10, 0, false},
		{known(10), 10, 50, true},
	} {
		s := &sighting{last: tt.before, found: tt.found}
		if got := tt.replica.missed(s); got != tt.want {
			t.Errorf("last %d, then # %d, then last %d with %d members: missed %v, want %v",
				tt.before, tt.found, tt.replica.last, len(tt.replica.members), got, tt.want)
		}
	}
}

// truth is Redis, as far as one room goes: what it is, and what it published.
type truth struct {
	clock   presence.Revision
	rev     presence.Revision
	members map[presence.ConnID]presence.Member
	line    []*presence.Event // all that was published, in order
}

func (r *truth) publish(kind presence.Kind, m presence.Member, prev presence.Revision) {
	e := &presence.Event{Kind: kind, Revision: m.Revision, Prev: prev, Conn: m.Conn, At: m.At, Client: m.Client, Time: int64(len(r.line))}
	if kind == presence.KindLeave {
		e.Reason = presence.ReasonLeft
	}
	r.line = append(r.line, e)
}

// put is join.lua and update.lua, cut is leave.lua, raise is mark.lua.
func (r *truth) put(n byte) {
	prev := r.rev
	r.clock++
	r.rev++
	if prev == 0 {
		r.clock += 9 // a µs passes faster than an event is made
		r.rev = r.clock
	}
	old, ok := r.members[conn(n)]
	m, kind := member(n, r.rev, int64(len(r.line))+1), presence.KindJoin
	if ok {
		m.At, kind = old.At, presence.KindUpdate
	}
	r.members[conn(n)] = m
	r.publish(kind, m, prev)
}

func (r *truth) cut(n byte) {
	m, ok := r.members[conn(n)]
	if !ok {
		return
	}
	prev := r.rev
	r.clock++
	r.rev++
	m.Revision = r.rev
	delete(r.members, conn(n))
	r.publish(presence.KindLeave, m, prev)
	if len(r.members) == 0 {
		r.rev = 0
	}
}

func (r *truth) raise(floor presence.Revision) {
	if r.rev > 0 && r.rev < floor {
		r.line = append(r.line, &presence.Event{Kind: presence.KindMark, Revision: floor, Prev: r.rev})
		r.rev = floor
	}
}

func (r *truth) snapshot() presence.Snapshot {
	s := presence.Snapshot{Revision: r.rev}
	for _, m := range r.members {
		s.Members = append(s.Members, m)
	}
	return s
}

// follower is the room as hosted.go runs it, over a link that delays, breaks
// and is checked, with every step chosen by the test.
type follower struct {
	t     *rapid.T
	redis *truth
	replica
	next    int // of redis.line, to arrive
	barrier int // settled when next has reached it; -1 none
	reading bool
	links   int
	healthy bool // nothing may need mending
	first   int  // of redis.line, above the snapshot
	empty   bool // so was the snapshot
	told    []*presence.Event
	drawn   []drawn // lists that were read and not shown yet
	clients []presence.Snapshot
	view    map[presence.ConnID]presence.Member // what a subscriber believes
	high    presence.Revision
	lost    map[presence.ConnID]presence.Member // by Redis, and to be written again
}

// lose has Redis lose a member, as a failover does, and the replica doubt it.
func (f *follower) lose(n byte) {
	m, ok := f.redis.members[conn(n)]
	if !ok {
		return
	}
	f.lost[conn(n)] = m
	delete(f.redis.members, conn(n))
	if len(f.redis.members) == 0 {
		f.redis.rev = 0
	}
	f.redis.clock = max(f.redis.clock, f.last+markAhead)
	f.redis.raise(f.redis.clock)
	f.hold()
	f.read()
}

// restore writes a lost member again, as assert.lua does.
func (f *follower) restore(n byte) {
	m, ok := f.lost[conn(n)]
	if !ok {
		return
	}
	delete(f.lost, conn(n))
	if _, ok := f.redis.members[conn(n)]; ok {
		return
	}
	f.redis.put(n)
	e := f.redis.line[len(f.redis.line)-1]
	m.Revision = e.Revision
	e.At, f.redis.members[conn(n)] = m.At, m
}

// drawn is a list between Redis and the one who asked for it.
type drawn struct {
	list  presence.Snapshot
	asked int // snapshots adopted and links made until then
}

func (f *follower) draw() {
	f.drawn = append(f.drawn, drawn{f.redis.snapshot(), f.snapshots + f.links})
}

// hand gives the oldest list that is under way to a client, as shown.go does.
func (f *follower) hand() {
	if len(f.drawn) == 0 {
		return
	}
	d := f.drawn[0]
	f.drawn = f.drawn[1:]
	if f.snapshots+f.links > d.asked {
		f.draw() // again
		return
	}
	f.show(d.list)
	f.clients = append(f.clients, d.list)
}

// emit is the subscriber: it checks what it is told.
func (f *follower) emit(e *presence.Event) {
	m, there := f.view[e.Conn]
	if e.Revision < f.high {
		f.t.Fatalf("%s of %d at %d, after %d", e.Kind, e.Conn[0], e.Revision, f.high)
	}
	f.high = e.Revision
	switch {
	case e.Kind == presence.KindLeave && f.holding && f.lost[e.Conn].At == m.At && there:
		f.t.Fatalf("leave of %d at %d, who is only missing", e.Conn[0], e.Revision)
	case e.Kind == presence.KindLeave && !there:
		f.t.Fatalf("leave of %d at %d, of nobody", e.Conn[0], e.Revision)
	case e.Kind == presence.KindJoin && there:
		f.t.Fatalf("join of %d at %d, who is there", e.Conn[0], e.Revision)
	case e.Kind == presence.KindUpdate && !there:
		f.t.Fatalf("update of %d at %d, of nobody", e.Conn[0], e.Revision)
	case e.Kind == presence.KindUpdate && m.At != e.At:
		f.t.Fatalf("update of %d at %d, of another membership", e.Conn[0], e.Revision)
	}
	if e.Kind == presence.KindLeave {
		delete(f.view, e.Conn)
	} else {
		f.view[e.Conn] = member(e.Conn[0], e.Revision, e.At)
	}
	f.told = append(f.told, e)
}

// arrive takes the next event from the link.
func (f *follower) arrive() {
	if f.next == len(f.redis.line) {
		return
	}
	e := f.redis.line[f.next]
	f.next++
	if !f.reading { // before a read is sent nothing is kept; a read is one step here
		if v := f.take(e, f.emit); v == verdictGap || v == verdictBack {
			f.mend(fmt.Sprintf("%s %d after %d is judged %s", e.Kind, e.Revision, e.Prev, v))
		}
	}
	f.settle()
}

func (f *follower) settle() {
	if f.barrier >= 0 && f.next >= f.barrier {
		f.settling, f.void, f.barrier = false, false, -1
	}
}

// read mends the replica. Events that the snapshot holds may still be to come.
func (f *follower) read() {
	for range marksMost + 1 {
		f.seal()
		snap := f.redis.snapshot()
		same := maps.EqualFunc(f.members, f.redis.members, func(a entry, b presence.Member) bool { return a.rev == b.Revision && a.at == b.At })
		before, lists := len(f.told), len(f.sealed) > 0
		mark := f.reconcile(snap, 0, f.emit)
		if same && len(f.told) > before && !lists {
			f.t.Fatalf("nothing had changed, told %s", say(f.told[before:]))
		}
		if mark == 0 {
			f.reading, f.barrier = false, len(f.redis.line)
			f.settle()
			return
		}
		f.redis.raise(mark)
	}
	f.t.Fatal("a room cannot be marked")
}

// reconnect loses what was on its way, and checks as check.go does.
func (f *follower) reconnect() {
	f.next, f.barrier = len(f.redis.line), -1
	f.links++
	f.check()
}

func (f *follower) check() {
	s := &sighting{last: f.last, shown: f.ahead(), found: f.redis.rev}
	for f.next < len(f.redis.line) && !f.reading {
		f.arrive()
	}
	f.settling, f.void = false, false
	if f.missed(s) {
		f.mend("the check says that something was missed")
	}
	if f.reading {
		f.read()
	}
}

func (f *follower) mend(why string) {
	if f.healthy {
		f.t.Fatalf("at %d (settling %v, void %v) %s", f.last, f.settling, f.void, why)
	}
	f.reading = true
}

// newFollower subscribes somewhere in the history of a room: the snapshot may be
// ahead of the link.
func newFollower(t *rapid.T) *follower {
	redis := &truth{clock: 1_000_000, members: map[presence.ConnID]presence.Member{}}
	f := &follower{t: t, redis: redis, barrier: -1, view: map[presence.ConnID]presence.Member{}, lost: map[presence.ConnID]presence.Member{}}
	for _, step := range rapid.SliceOfN(rapid.SampledFrom([]string{"put", "cut", "empty"}), 0, 8).Draw(t, "before") {
		f.step(step)
	}
	f.next = rapid.IntRange(0, len(redis.line)).Draw(t, "subscribed at")
	f.adopt(redis.snapshot())
	f.barrier, f.first, f.empty = len(redis.line), len(redis.line), redis.rev == 0
	f.high = redis.rev
	maps.Copy(f.view, redis.members)
	f.settle()
	return f
}

// step does one thing in Redis or on the link.
func (f *follower) step(what string) {
	who := func() byte { return rapid.ByteRange(1, 3).Draw(f.t, "who") }
	switch what {
	case "put":
		n := who()
		delete(f.lost, conn(n)) // another membership
		f.redis.put(n)
	case "cut":
		f.redis.cut(who())
	case "empty":
		for i := range byte(4) {
			f.redis.cut(i)
		}
	case "arrive":
		f.arrive()
	case "read":
		f.read()
	case "reconnect":
		f.reconnect()
	case "check":
		f.check()
	case "draw":
		f.draw()
	case "hand":
		f.hand()
	case "lose":
		f.lose(who())
	case "restore":
		f.restore(who())
	case "release":
		if f.release() {
			f.read()
		}
	case "clock goes back":
		f.redis.clock -= 500
	case "delete by hand":
		f.redis.rev, f.redis.members = 0, map[presence.ConnID]presence.Member{}
	}
}

func (f *follower) steps(names ...string) {
	for _, step := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 40).Draw(f.t, "steps") {
		f.step(step)
	}
}

// finish lets everything arrive and does what the audit does.
func (f *follower) finish() {
	for f.next < len(f.redis.line) {
		f.arrive()
		if f.reading {
			f.read()
		}
	}
	for len(f.drawn) > 0 {
		f.hand()
	}
	f.step("release")
	f.check()
	f.expectLists()
	if diff := cmp.Diff(memberships(f.redis.members), memberships(f.view)); diff != "" {
		f.t.Fatalf("members in Redis and as told (-redis +told):\n%s\n%s", diff, strings.Join(say(f.told), "\n"))
	}
}

// expectLists folds what was told over each list that a client got: those who
// hold a list at R ignore what is not above R.
func (f *follower) expectLists() {
	for _, list := range f.clients {
		view := map[presence.ConnID]presence.Member{}
		for _, m := range list.Members {
			view[m.Conn] = m
		}
		for _, e := range f.told {
			switch {
			case e.Revision <= list.Revision:
			case e.Kind == presence.KindLeave:
				delete(view, e.Conn)
			default:
				view[e.Conn] = member(e.Conn[0], e.Revision, e.At)
			}
		}
		if diff := cmp.Diff(memberships(f.redis.members), memberships(view)); diff != "" {
			f.t.Fatalf("members in Redis and as folded over the list of %d (-redis +folded):\n%s\n%s", list.Revision, diff, strings.Join(say(f.told), "\n"))
		}
	}
}

// TestWhoIsMissingIsHeld has Redis lose members that are written again, or not.
func TestWhoIsMissingIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFollower(t)
		f.steps("put", "put", "cut", "arrive", "arrive", "arrive", "read", "reconnect", "check", "draw", "hand", "lose", "restore", "restore", "release")
		f.finish()
	})
}

func TestFoldOfWhatIsToldIsTheSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFollower(t)
		// Not both: a list of a life with lower revisions, on its way while
		// events of the life before are, cannot be told from an old one.
		last := rapid.SampledFrom([]string{"clock goes back", "draw"}).Draw(t, "also")
		f.steps("put", "put", "cut", "empty", "arrive", "arrive", "arrive", "read", "reconnect", "check", "hand", "delete by hand", last)
		f.finish()
	})
}

// Where nothing is lost and no hand and no clock interferes, every event is
// told, and nothing needs mending, however late events and snapshots come.
func TestNothingIsMendedWhereNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFollower(t)
		f.healthy = true
		f.steps("put", "put", "cut", "empty", "arrive", "arrive", "arrive", "check", "draw", "hand")
		f.finish()
		want, got := []string{}, []string{}
		for _, e := range f.redis.line[f.first:] {
			want = append(want, fmt.Sprint(e.Kind, e.Conn[0], e.Revision))
		}
		for _, e := range f.told {
			got = append(got, fmt.Sprint(e.Kind, e.Conn[0], e.Revision))
		}
		if f.empty { // a whole life of the room from before an empty snapshot may be told: nobody sees a difference
			got = got[max(0, len(got)-len(want)):]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("published after the snapshot, and told (-want +got):\n%s", diff)
		}
	})
}

// memberships names members by connection and begin. A repair may tell an
// update at the snapshot's revision, so revisions of members may differ.
func memberships(members map[presence.ConnID]presence.Member) []string {
	var list []string
	for _, m := range members {
		list = append(list, fmt.Sprintf("%d since %d", m.Conn[0], m.At))
	}
	slices.Sort(list)
	return list
}
