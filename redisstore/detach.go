package redisstore

import (
	"slices"
	"sync"

	presence "presencesets"
)

// A lost socket. Its connection keeps its memberships for the grace, and
// whoever resumes it, on any node, is told what its socket was not handed.
//
//	Detach ──▶ cover ──▶ detach ──▶ [grace] ──▶ whoever claims it (expiry.go)
//	             │          └─ from here in `due`: this node may die
//	             └─ the feed steps the revisions back over what the peer did
//	                not take
//
// Until detach is answered it is owed, as the steps of a departure are. One
// that comes late undoes nothing: a connection that was resumed meanwhile has
// a higher incarnation, and detach leaves it alone.
//
// detach answers 0 where there is nothing to detach at this incarnation. That
// is an earlier try of ours, or somebody who has the connection now; or Redis
// has forgotten it, and then no grace can be kept: the rooms that the caller
// knows are left.

// Detach begins the grace of a connection whose socket was lost. It never
// blocks and cannot fail: what Redis does not answer is owed, as a departure
// is. A second one for the same incarnation does nothing. What still waits of
// the connection is not sent any more.
func (s *Store) Detach(d presence.Detachment) {
	if s.reclaims.hold(d.Conn, func(inc int64) { d.Inc = max(d.Inc, inc); s.Detach(d) }) {
		return
	}
	s.fences.drop(d.Conn, d.Inc)
	s.doubts.ended(d.Conn, lastEnd{app: d.App, inc: d.Inc, reason: d.Reason, grace: d.Grace})
	dep := &departure{
		app: d.App, conn: d.Conn, inc: d.Inc, reason: d.Reason, known: roomNames(d.App, d.Rooms),
		stage: stageCover, grace: d.Grace, handed: d.Handed, unsent: d.Unsent,
	}
	s.feed.keep(d.App, handedRooms(d.Handed), d.Grace)
	dep.fence = s.silence(d.Conn, d.Inc, d.Unanswered)
	if s.departures.begin(dep) {
		s.sessions.Add(-1)
	}
}

// silence sees to it that nothing of an incarnation that ends here is sent any
// more. It reports whether something was sent that is not answered.
func (s *Store) silence(conn presence.ConnID, inc int64, unanswered bool) bool {
	unanswered = unanswered || s.settler.has(conn)
	if unanswered {
		s.departed.add(conn, inc, s.clock()) // before cancel, see settler.add
		s.settler.cancel(conn)
	}
	return unanswered
}

// cover has the feed say from which revisions a resume must replay.
func (d *departure) cover() {
	if len(d.handed) == 0 {
		d.covered(nil)
		return
	}
	d.all.store.feed.covering(d.handed, d.app, d.unsent, d.covered)
}

func (d *departure) covered(list []presence.Handed) {
	d.handed, d.stage = list, stageDetach
	d.proceed()
}

// haveDetached ends with the grace that began.
func (d *departure) haveDetached(s *step) {
	if !d.answered(s) {
		return
	}
	if s.deadline == 0 {
		d.stage = stageLook
		d.proceed()
		return
	}
	d.inGrace(s.deadline)
}

// haveLooked tells the cases of a 0 apart.
func (d *departure) haveLooked(s *step) {
	if !d.answered(s) {
		return
	}
	fields := sessionFields(s.fields)
	if len(fields) == 0 {
		d.stage, d.rooms, d.lost = stageLeave, slices.Clone(d.known), true
		d.proceed()
		return
	}
	inc, _ := parseDecimal([]byte(fields["inc"]))
	deadline, ok := parseDecimal([]byte(fields["due"]))
	if inc == d.inc && fields["state"] == "grace" && ok {
		d.inGrace(deadline)
		return
	}
	if inc > d.inc { // taken meanwhile: who has it now will ask
		f := d.all.store.feed
		f.post(func() { f.handOver(d.app, d.conn, d.inc, d.handed, d.grace) })
	}
	d.all.done(d)
}

// inGrace ends d: from here the session is in `due`.
func (d *departure) inGrace(deadline int64) {
	d.all.store.graces.began(d.conn, deadline)
	d.all.done(d)
}

// graces are the connections that were lost here and may still be resumed, as
// far as this node knows: one that was resumed on another node stays until its
// deadline.
type graces struct {
	mu   sync.Mutex
	ends map[presence.ConnID]int64 // Redis ms
}

func newGraces() *graces { return &graces{ends: make(map[presence.ConnID]int64)} }

// began counts a connection until its deadline.
func (g *graces) began(conn presence.ConnID, deadline int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends[conn] = deadline
}

// over: the connection was resumed, or its grace has ended.
func (g *graces) over(conn presence.ConnID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.ends, conn)
}

// count forgets those whose grace is over at now, in ms of Redis's clock, and
// returns how many are left.
func (g *graces) count(now int64) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn, deadline := range g.ends {
		if deadline <= now {
			delete(g.ends, conn)
		}
	}
	return len(g.ends)
}

// showSessions brings the gauges of sessions up to date.
func (s *Store) showSessions() {
	s.metrics.SessionsLive.Set(float64(max(0, s.sessions.Load())))
	if g := s.lease.grant.Load(); g != nil {
		s.metrics.SessionsGrace.Set(float64(s.graces.count(g.lower(s.clock()))))
	}
}
