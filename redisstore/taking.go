package redisstore

import (
	"strings"
	"sync/atomic"
	"time"

	presence "presencesets"
)

// Taking a session: what a resume and a reclaim have in common.
//
//	owner ──▶ resume ─┬─▶ taken
//	  ▲         ▲     ├─▶ GONE, DENIED, LATE
//	  │         └─────┼── MOVED: the stamp that has it by now
//	  └── help ◀──────┴── LEAVING: its departure was begun and not ended
//
// Who has the session is read first, because its node's index is a key that
// the script must be given.
//
// A departure that somebody began, and perhaps died over, is ended here and
// now: the leaves that are left, then finish. It is done from one single reply
// that shows the session as leaving, with the incarnation that the reply shows:
// a helper that read it as live again and ended that would make a ghost.

// takingTries bounds how often a session may change under our hands.
const takingTries = 16

// ending is how a taking ended.
type ending uint8

const (
	endTaken   ending = iota // it is this node's, with a new incarnation
	endGone                  // there is no session
	endDenied                // it is another client's
	endLate                  // a newer socket has it
	endFailed                // nothing was changed
	endUnknown               // it may have become this node's
)

// taking is one session that this node takes.
type taking struct {
	// set once
	store   *Store
	who     *presence.Op // App, Conn, Key, Client, Secret
	began   int64        // the store's clock
	newest  int64        // no socket with an incarnation above it is robbed
	least   int64        // the new incarnation is not below it
	unheard func(stamp string) bool
	then    func(*taking)

	// owned by whoever holds it: the lane's answer, or the turns
	tries int
	owner string // stamp that has the session
	seen  int64  // its incarnation

	// Filled.

	ending ending
	err    *presence.Error // endFailed, endUnknown
	valid  int64           // endUnknown: until when it may yet be made, Redis ms
	inc    int64
	fence  int64 // until when an earlier owner may write, Redis ms; 0: none can
	state  string
	fields []string // as they were
}

// left is for how long a saga that began at t may still wait for something.
func (s *Store) left(t int64) time.Duration { return time.Duration(t + int64(maxWait) - s.clock()) }

// ask sends one step; its then is told how it went.
func (s *Store) ask(st *step) {
	at := st.began
	if at == 0 {
		at = s.clock()
	}
	if !s.lane(&st.Op).push(task{op: &st.Op, step: st, at: at}) {
		st.fate, st.Err = fateAway, errShutdown()
		st.then(st)
	}
}

// askAll sends steps, and calls then when every one is answered. Those of one
// script that follow each other travel together.
func (s *Store) askAll(steps []step, then func()) {
	if len(steps) == 0 {
		then()
		return
	}
	var waiting atomic.Int64
	waiting.Store(int64(len(steps)))
	for i := range steps {
		steps[i].then = func(*step) {
			if waiting.Add(-1) == 0 {
				then()
			}
		}
	}
	for i := range steps {
		s.ask(&steps[i])
	}
}

func (k *taking) op(kind presence.OpKind) presence.Op {
	return presence.Op{
		Kind: kind, App: k.who.App, Conn: k.who.Conn,
		Key: k.who.Key, Client: k.who.Client, Secret: k.who.Secret, Grace: k.who.Grace,
	}
}

func (k *taking) end(how ending) {
	k.ending = how
	k.then(k)
}

// look begins, or begins again.
func (k *taking) look() {
	if k.tries++; k.tries > takingTries {
		k.err = errEnding()
		k.end(endFailed)
		return
	}
	k.store.ask(&step{Op: k.op(opOwner), began: k.began, then: func(st *step) {
		if k.answered(st) {
			k.owner, k.seen = st.owner, st.NewInc
			k.take()
		}
	}})
}

// answered reports whether a step that changes nothing was.
func (k *taking) answered(st *step) bool {
	if st.fate == fateAnswered {
		return true
	}
	k.err = st.Err
	k.end(endFailed)
	return false
}

func (k *taking) take() {
	k.store.ask(&step{
		Op: k.op(presence.OpResume), began: k.began, newest: k.newest, least: k.least,
		owner: k.owner, unheard: k.unheard != nil && k.unheard(k.owner), then: k.haveTaken,
	})
}

func (k *taking) haveTaken(st *step) {
	switch st.fate {
	case fateAnswered:
	case fateLost, fateFailed:
		k.err, k.valid = st.Err, st.valid
		k.end(endUnknown)
		return
	default:
		k.err = st.Err
		k.end(endFailed)
		return
	}
	switch word, rest, _ := strings.Cut(st.word, " "); word {
	case "":
		k.inc, k.fence, k.state, k.fields = st.NewInc, st.ends, st.state, st.fields
		k.end(endTaken)
	case "GONE":
		k.end(endGone)
	case "DENIED":
		k.end(endDenied)
	case "LATE":
		k.end(endLate)
	case "MOVED":
		if k.tries++; k.tries > takingTries {
			k.look()
			return
		}
		k.owner = rest
		k.take()
	default: // LEAVING
		k.leaving()
	}
}

// leaving finds out how far the departure is.
func (k *taking) leaving() {
	k.store.ask(&step{Op: k.op(opRead), began: k.began, then: func(st *step) {
		if !k.answered(st) {
			return
		}
		if sessionFields(st.fields)["state"] == "grace" {
			k.claim()
			return
		}
		k.help(st.fields, 0)
	}})
}

// claim takes a grace that is over and that nobody has claimed yet.
func (k *taking) claim() {
	k.store.ask(&step{Op: k.op(opClaim), began: k.began, then: func(st *step) {
		if k.answered(st) {
			k.help(st.fields, st.claim)
		}
	}})
}

// help ends the departure that list shows, and goes on when it has ended.
func (k *taking) help(list []string, claim int64) {
	if d, ok := claimedDeparture(k.who.Conn, list, claim); ok {
		k.store.departures.begin(d) // unless this node is at it
	}
	departing := k.store.departures.departing
	k.store.turns.await(k.who.Conn, k.store.left(k.began), func() bool { return !departing(k.who.Conn) }, func(ok bool) {
		if !ok {
			k.err = errEnding()
			k.end(endFailed)
			return
		}
		k.look()
	})
}

// claimedDeparture is the departure of a session that is leaving, from the one
// reply that shows it so. claim is the time of the claim which that reply is
// of, 0 for none: then a fence makes all leaves come again.
func claimedDeparture(conn presence.ConnID, list []string, claim int64) (d *departure, ok bool) {
	fields := sessionFields(list)
	inc, ok := parseDecimal([]byte(fields["inc"]))
	if fields["state"] != "leaving" || !ok {
		return nil, false
	}
	d = &departure{conn: conn, inc: inc, claim: claim, claimed: true}
	d.take(list)
	if due, _ := parseDecimal([]byte(fields["due"])); due != 0 {
		grace, _ := parseDecimal([]byte(fields["grace"]))
		d.cause = due - grace
	}
	return d, true
}

// errEnding: what was before is not over yet.
func errEnding() *presence.Error {
	err := presence.Errorf(presence.CodeUnavailable, "the connection's last session is still being ended; try again")
	err.RetryAfterMs = time.Second.Milliseconds()
	return err
}
