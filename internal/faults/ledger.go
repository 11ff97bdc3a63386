package faults

import (
	"slices"
	"time"
)

// kind is a way in which a membership ends, and so the bound of its leave.
type kind uint8

const (
	left     kind = iota // presence.leave, acknowledged
	closed               // a close frame
	timeout              // a lost socket that did not come back
	halfOpen             // a peer that went without a packet
	nodeLost             // its node died, and it did not come back
	kinds
)

func (k kind) String() string {
	return [...]string{"left", "closed", "timeout", "half-open", "node_lost"}[k]
}

// times are the settings that the bounds follow from.
type times struct {
	ttl, beat, grace, ping, pong, retention time.Duration
}

// bound is invariant 3: from the cause to the leave, with nothing else wrong.
func (t times) bound(k kind) time.Duration {
	switch k {
	case timeout:
		return t.grace + time.Second
	case halfOpen:
		return t.ping + t.pong + time.Second + t.grace + time.Second
	case nodeLost:
		return max(t.ttl, t.grace) + 2*time.Second
	}
	return time.Second
}

// end is one membership's end as its cause.
type end struct {
	kind  kind
	cause time.Time
	node  int // of its socket
}

// seat is what a client did about one room: its account of its memberships.
// Each number is that of this cell.
type seat struct {
	room   int
	inRoom bool // acknowledged
	member bool
	data   string // acknowledged, while a member
	begun  int    // memberships: those that were there at the start count
	ends   []end
	// changed is when the last one began, was left or was resumed, as acknowledged.
	changed time.Time
	// flaps are memberships that may have ended and begun again without the
	// client's doing: its node slept past the grace, Redis lost its data.
	flaps int
	// unsure: a join was under way when it went for good. There may have been
	// one more membership, which has ended then.
	unsure bool
}

// tally is what an observer was told of one connection in one room.
type tally struct {
	joins   int
	leaves  []told
	updates int
}

type told struct {
	at     time.Time // when it came
	done   time.Time // when it was done, Redis's clock: that of this machine
	reason string
}

// verdict is what the comparison of a seat and a tally finds.
type verdict struct {
	joins, leaves int // too many (above 0) or too few
	gone          int // leaves that the client has no part in
	flapped       int // leaves that it has none in, and that may be
}

// judge compares. exact: the observer's node missed nothing, so that it must
// have been told everything; otherwise what came and went in a gap may be
// untold, in pairs.
func judge(s *seat, t *tally, exact bool) (v verdict) {
	begun, ended := s.begun, len(s.ends)
	joins, leaves := t.joins, len(t.leaves)
	if s.unsure && leaves > ended {
		begun, ended = begun+1, ended+1
	}
	for range s.flaps {
		if leaves > ended {
			begun, ended = begun+1, ended+1
			v.flapped++
		}
	}
	if !exact { // pairs may be missing
		for leaves < ended && joins < begun {
			joins, leaves = joins+1, leaves+1
		}
	}
	v.joins, v.leaves = joins-begun, leaves-ended
	if v.leaves > 0 && s.member {
		v.gone = v.leaves
	}
	return v
}

// lateness is what one way to end took.
type lateness struct {
	took  []time.Duration // from the cause
	bound time.Duration   // with nothing else wrong
	late  time.Duration   // of the worst, past its limit; negative: in time
	moved time.Duration   // the furthest that a fault moved a limit
}

func (l *lateness) add(took time.Duration, limit, usual time.Duration) {
	if len(l.took) == 0 || took-limit > l.late {
		l.late = took - limit
	}
	l.took = append(l.took, took)
	l.bound = usual
	l.moved = max(l.moved, limit-usual)
}

func (l *lateness) p50() time.Duration {
	slices.Sort(l.took)
	return l.took[len(l.took)/2]
}

func (l *lateness) max() time.Duration { return slices.Max(l.took) }
