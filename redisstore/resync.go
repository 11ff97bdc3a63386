package redisstore

import (
	"bytes"
	"cmp"
	"slices"

	presence "presencesets"
)

// What a hosted room knows, and what each event and each snapshot makes of it.
// Nothing here does I/O, waits or asks a clock: events and snapshots go in,
// what subscribers are told comes out through emit. hosted.go moves the bytes.
//
// An event carries its revision and the one before it. Against `last`, the
// revision up to which subscribers were told everything:
//
//	last < rev, prev == last     apply
//	last < rev, prev == 0        the room was empty: end who is still known, apply
//	last < rev, otherwise        gap: resync
//	rev <= last                  older than the snapshot, drop; once that cannot be, revisions went back: resync
//
// "Once that cannot be": events travel on the feed's link and snapshots on
// another, so an event that a snapshot already holds may come after it. The
// replica is *settling* until an echo has passed through the link behind the
// snapshot (see barrier in link.go), or until an event above the snapshot came.
//
// The snapshot of an empty room has no revision to compare with. While such a
// replica is settling (*void*), what does not begin a new life of the room
// belongs to the one that the snapshot saw ended.
//
// A list that a subscriber was given (presence.get) comes from Redis too, so it
// may be ahead of `last`, and the subscriber ignores events that are not above
// it. Where the events up to it are lost, a comparison with the replica alone
// would not end a member that was only in the list. So lists that are ahead are
// kept until the events have caught up, and count as known in a comparison.
//
// After Redis may have lost something (doubt.go), what is missing in it may only
// be missing until its node has written it again: the replica is *holding*. Then
// nobody is told that who is missing has left; who is still missing when the
// hold ends has.
//
// Invariants 1, 2, 4 and 8: folding what was emitted over the first snapshot
// gives the members of the last one; a membership that was told ends once;
// what did not change is not told; revisions never go down.

// markAhead is how far above `last` a room is marked whose revisions went back.
// Events from before it went back may still be on their way to this node; the
// new revisions must not be theirs.
const markAhead = 1000

// entry is what is kept of a member.
type entry struct {
	rev    presence.Revision
	at     int64  // of its join: another at is another membership
	client string // JSON string, with its quotes
}

// replica is a room as its subscribers know it.
type replica struct {
	last     presence.Revision
	settling bool
	void     bool // settling, and the snapshot was of an empty room
	members  map[presence.ConnID]entry

	// Lists that were handed out and are ahead of last, by revision; sealed
	// are those that were before the snapshot was asked for that is under way.
	lists, sealed []presence.Snapshot
	// snapshots counts what was adopted. A list that was read before the newest
	// of them is worth nothing: its reader would not be told what lies between.
	snapshots int

	holding bool                         // nobody leaves for being missing
	missing map[presence.ConnID]struct{} // members that are, since it holds
}

// live is how many members there are, without those that are missing.
func (p *replica) live() int { return len(p.members) - len(p.missing) }

// hold begins to hold; release ends it, and reports whether somebody is missing
// that the next snapshot must tell of.
func (p *replica) hold() { p.holding = true }

func (p *replica) release() bool {
	p.holding = false
	return len(p.missing) > 0
}

// miss notes that a member is missing, while the replica holds.
func (p *replica) miss(conn presence.ConnID) {
	if p.missing == nil {
		p.missing = make(map[presence.ConnID]struct{})
	}
	p.missing[conn] = struct{}{}
}

// verdict is what an event means for a replica.
type verdict uint8

const (
	verdictDrop  verdict = iota + 1 // older than the snapshot
	verdictApply                    // the next one
	verdictFresh                    // the first of a new life of the room
	verdictGap                      // events are missing before it
	verdictBack                     // the room's revisions went back
)

func (v verdict) String() string {
	return [...]string{"none", "drop", "apply", "fresh", "gap", "back"}[v]
}

// judge decides about e and changes nothing.
func (p *replica) judge(e *presence.Event) verdict {
	switch {
	case p.void && e.Prev != 0:
		return verdictDrop
	case e.Revision <= p.last && p.settling && !p.void:
		return verdictDrop
	case e.Revision <= p.last:
		return verdictBack
	case e.Prev == p.last:
		return verdictApply
	case e.Prev == 0 && e.Kind != presence.KindMark:
		return verdictFresh
	}
	return verdictGap
}

// take judges e, and applies it where that is the verdict. After verdictGap
// and verdictBack the replica is as it was and needs a snapshot.
func (p *replica) take(e *presence.Event, emit func(*presence.Event)) verdict {
	v := p.judge(e)
	switch v {
	case verdictFresh:
		p.lists = p.merge(p.lists, e.Revision-1, e.Time, emit)
		p.endAll(p.last+1, e.Time, emit)
	case verdictApply:
	default:
		return v
	}
	p.apply(e, emit)
	p.last, p.settling, p.void = e.Revision, false, false
	p.dropLists()
	return v
}

// apply changes the members by e and says so. That a leave is of a member, and
// a join or update of the membership that we know, can only fail where members
// were changed by hand without an event; subscribers get what keeps them right.
func (p *replica) apply(e *presence.Event, emit func(*presence.Event)) {
	old, known := p.members[e.Conn]
	delete(p.missing, e.Conn)
	switch {
	case e.Kind == presence.KindMark:
		return
	case e.Kind == presence.KindLeave && !known:
		return
	case e.Kind == presence.KindLeave && old.at != e.At && p.holding:
		// A membership whose end was told, and lost with the beginning of this
		// one, has ended again.
		p.miss(e.Conn)
		return
	case e.Kind == presence.KindLeave:
		delete(p.members, e.Conn)
		emit(e)
		return
	case known && old.at != e.At:
		emit(old.leave(e.Conn, e.Revision, e.Prev, e.Time))
		e = as(presence.KindJoin, e)
	case known: // a join of it is one that Redis had lost
		e = as(presence.KindUpdate, e)
	default:
		e = as(presence.KindJoin, e)
	}
	p.members[e.Conn] = entry{rev: e.Revision, at: e.At, client: string(e.Client)}
	emit(e)
}

// as returns e as a join or an update: a member that subscribers do not know
// joins, whatever made it known to us, and one that they know does not again.
func as(kind presence.Kind, e *presence.Event) *presence.Event {
	if e.Kind == kind {
		return e
	}
	other := *e
	other.Kind = kind
	return &other
}

// leave is the end of a membership that was found out by comparing.
func (m entry) leave(conn presence.ConnID, rev, prev presence.Revision, now int64) *presence.Event {
	return &presence.Event{
		Kind: presence.KindLeave, Revision: rev, Prev: prev, Conn: conn, Time: now,
		Reason: presence.ReasonUnknown, At: m.at, Client: []byte(m.client),
	}
}

// endAll ends every membership at rev, in the order in which they came.
func (p *replica) endAll(rev presence.Revision, now int64, emit func(*presence.Event)) {
	if len(p.members) == 0 {
		return
	}
	if p.holding {
		for conn := range p.members {
			p.miss(conn)
		}
		return
	}
	p.missing = nil
	for _, conn := range p.absent(nil) {
		emit(p.members[conn].leave(conn, rev, p.last, now))
	}
	clear(p.members)
	p.last = rev
}

// absent returns the known members that are not in there, by revision.
func (p *replica) absent(there map[presence.ConnID]struct{}) []presence.ConnID {
	var gone []presence.ConnID
	for conn := range p.members {
		if _, ok := there[conn]; !ok {
			gone = append(gone, conn)
		}
	}
	slices.SortFunc(gone, func(a, b presence.ConnID) int {
		return cmp.Or(cmp.Compare(p.members[a].rev, p.members[b].rev), bytes.Compare(a[:], b[:]))
	})
	return gone
}

// show is told of a list before a subscriber has it. It must have been read
// after the newest snapshot.
func (p *replica) show(list presence.Snapshot) {
	if list.Revision > p.last {
		list.Members = slices.Clone(list.Members) // the reader sorts its own
		p.lists = append(p.lists, list)
		slices.SortFunc(p.lists, byRevision)
	}
}

// ahead is the revision of the highest list that is ahead of last; 0: none.
func (p *replica) ahead() presence.Revision {
	if len(p.lists) == 0 {
		return 0
	}
	return p.lists[len(p.lists)-1].Revision
}

func byRevision(a, b presence.Snapshot) int { return cmp.Compare(a.Revision, b.Revision) }

// seal is called when a snapshot is asked for: what is a list now is older.
func (p *replica) seal() {
	p.sealed = append(p.sealed, p.lists...)
	p.lists = nil
	slices.SortFunc(p.sealed, byRevision)
}

// merge tells what the lists up to upTo know and the replica does not, and
// returns those above.
func (p *replica) merge(lists []presence.Snapshot, upTo presence.Revision, now int64, emit func(*presence.Event)) []presence.Snapshot {
	for len(lists) > 0 && lists[0].Revision <= upTo {
		if lists[0].Revision > p.last {
			p.tell(lists[0], lists[0].Revision, now, emit)
		}
		lists = lists[1:]
	}
	return lists
}

// dropLists forgets the lists that the events have caught up with.
func (p *replica) dropLists() {
	for len(p.lists) > 0 && p.lists[0].Revision <= p.last {
		p.lists = p.lists[1:]
	}
}

// adopt makes the replica what snap says, and tells nobody.
func (p *replica) adopt(snap presence.Snapshot) {
	p.last = max(p.last, snap.Revision)
	p.snapshots++
	p.settling, p.void = true, snap.Revision == 0 && len(snap.Members) == 0
	p.members = make(map[presence.ConnID]entry, len(snap.Members))
	for i := range snap.Members {
		m := &snap.Members[i]
		p.members[m.Conn] = entry{rev: m.Revision, at: m.At, client: string(m.Client)}
	}
}

// reconcile makes the replica what snap says and tells the difference: joins
// and updates in the order of their revisions, then the leaves. now is Redis's
// time in ms, for what has no time of its own.
//
// Subscribers have been told up to `last`, and a client that holds a list of a
// revision ignores what is not above it. So when the room's revision is below
// last, or at it with a difference to tell, nothing is told and nothing
// changes: the result is the revision that the room must be marked with before
// it is read again. Otherwise it is 0.
func (p *replica) reconcile(snap presence.Snapshot, now int64, emit func(*presence.Event)) (mark presence.Revision) {
	p.sealed = p.merge(p.sealed, maxRevision, now, emit)
	p.lists = p.merge(p.lists, snap.Revision, now, emit)
	at, differs := snap.Revision, p.differs(snap)
	switch {
	case at == 0 && differs: // empty, or somebody's hand took its revision away: nothing to mark
		at = p.last + 1
	case at != 0 && (at < p.last || at == p.last && differs):
		return p.last + markAhead
	}
	p.tell(snap, at, now, emit)
	return 0
}

// differs says whether there is something to tell between the replica and snap.
func (p *replica) differs(snap presence.Snapshot) bool {
	return !p.holding && len(snap.Members) != len(p.members) || len(p.changes(snap)) > 0
}

// tell tells the difference between the replica and snap, and adopts it. What
// has no revision above last of its own carries `at`.
func (p *replica) tell(snap presence.Snapshot, at presence.Revision, now int64, emit func(*presence.Event)) {
	there := make(map[presence.ConnID]struct{}, len(snap.Members))
	for i := range snap.Members {
		there[snap.Members[i].Conn] = struct{}{}
	}
	last, prev := p.last, p.last
	tell := func(e *presence.Event) {
		e.Prev, prev = prev, e.Revision
		emit(e)
	}
	for _, c := range p.changes(snap) {
		rev := at
		if c.Revision > last && c.Revision < at {
			rev = c.Revision
		}
		e := &presence.Event{
			Kind: presence.KindJoin, Revision: rev, Conn: c.Conn, Time: c.At,
			At: c.At, Inc: c.Inc, Client: c.Client, Data: c.Data,
		}
		old, known := p.members[c.Conn]
		switch {
		case known && old.at != c.At:
			tell(old.leave(c.Conn, rev, 0, now))
		case known:
			e.Kind, e.Time = presence.KindUpdate, now
		}
		tell(e)
	}
	gone, known := p.absent(there), p.members
	if !p.holding {
		for _, conn := range gone {
			tell(known[conn].leave(conn, at, 0, now))
		}
	}
	p.adopt(snap)
	p.missing = nil
	if p.holding {
		for _, conn := range gone {
			p.members[conn] = known[conn]
			p.miss(conn)
		}
	}
	p.last = max(p.last, at)
}

// changes returns the members of snap that are new or not as they were known,
// in the order in which they are told: those above last by their revision,
// then the others, which will carry the snapshot's.
func (p *replica) changes(snap presence.Snapshot) []presence.Member {
	var list []presence.Member
	for _, m := range snap.Members {
		if old, known := p.members[m.Conn]; !known || old.rev != m.Revision || old.at != m.At {
			list = append(list, m)
		}
	}
	carries := func(m presence.Member) presence.Revision {
		if m.Revision > p.last && m.Revision < snap.Revision {
			return m.Revision
		}
		return maxRevision
	}
	slices.SortFunc(list, func(a, b presence.Member) int {
		return cmp.Or(cmp.Compare(carries(a), carries(b)), cmp.Compare(a.Revision, b.Revision), bytes.Compare(a.Conn[:], b.Conn[:]))
	})
	return list
}
