package redisstore

import (
	"bytes"
	"strings"

	presence "presencesets"
)

// Reclaiming: Redis may hold less of a connection than this node acknowledged.
// It lost its data, or the last of it (doubt.go); or this node lost its stamp,
// and somebody ended its connections, or began to. What the caller holds is
// compared with what is there, and only the difference is written:
//
//	read ─┬─ live, ours ───────────────▶ compare
//	      ├─ absent, and Redis lost it ─▶ open ──▶ compare
//	      ├─ absent otherwise ──────────▶ Done(ended): it was ended
//	      └─ anything else ─────────────▶ take ─┬─▶ compare
//	                                            └─ LATE, DENIED ─▶ Done(fenced)
//
//	compare:  track what is not listed ──▶ read the members ──▶ leave what was
//	          left ──▶ adopt, assert what was joined ──▶ untrack what was left
//	          ──▶ adopted
//
// Taking goes by the incarnation that the caller has: a socket that came since
// is not robbed. After an `away` the memberships are asserted, which is a join of
// now: their leave was told. What Redis lost is asserted with the time of its first
// join, so that it is the same membership to whoever saw that.
//
// Each step may be repeated, so what is not answered is begun again from the
// first one, when nothing of it travels any more (settle.go). The caller is told
// `unknown` once, and then how it ended. A connection that its caller departs or
// detaches meanwhile ends after its reclaim, with the incarnation that it has
// then.

// reclaimTries is how often the steps are begun again at once, where something
// changed between them.
const reclaimTries = 8

// reclaim is one OpReclaim.
type reclaim struct {
	// set once
	all    *reclaims
	store  *Store
	op     *presence.Op
	conn   presence.ConnID
	weight int

	// all.mu protects
	after []func(inc int64) // what its caller wants done when it has ended

	// owned by whoever holds it: the queue, the lane's answer, or the settler
	told    bool  // that its outcome is not known
	holds   bool  // it is its turn
	tries   int   // in a row
	began   int64 // this try, on the store's clock
	inc     int64 // the highest incarnation that is known to be the caller's
	tried   bool  // a new one may have been made that was not answered
	fence   int64 // Redis ms, 0: none
	from    int64 // a member with an incarnation below is of an earlier life, or landed late
	changed bool  // Redis did not have it all
	entries map[string]string
	take    taking
}

// begin is the beginning of a try. The turn is kept from one to the next: a
// resume in between could not be told from what this one may have made.
func (r *reclaim) begin() {
	r.began, r.tries = r.store.clock(), 0
	if r.holds {
		r.read()
		return
	}
	// A resume that is being undone would take what this one makes for its own.
	may := func() bool { return !r.store.settler.opening(r.conn) && !r.store.departures.aborting(r.conn) }
	r.store.turns.enter(r.conn, r.store.left(r.began), may, func(ok bool) {
		if !ok {
			r.later(0)
			return
		}
		r.holds = true
		r.read()
	})
}

// finish ends a try and the reclaim with it.
func (r *reclaim) finish(result string, err *presence.Error, ended bool) {
	r.end(result, err, ended)
	r.all.rest(r)
}

// end answers, for good.
func (r *reclaim) end(result string, err *presence.Error, ended bool) {
	r.store.metrics.Reclaims.WithLabelValues(result).Inc()
	r.all.mu.Lock()
	delete(r.all.all, r.conn)
	r.all.active = r.store.clock()
	after := r.after
	r.all.mu.Unlock()
	r.op.Err, r.op.Unknown, r.op.Ended = err, false, ended
	if err == nil {
		r.op.NewInc = r.inc
		if r.fence > 0 {
			r.store.fences.add(r.conn, r.inc, r.fence)
		}
	}
	r.op.Done.OpDone(r.op) // from here it is the caller's
	if r.holds {
		r.store.turns.exit(r.conn)
	}
	for _, then := range after {
		then(r.inc)
	}
}

// later ends a try that was not answered, or refused: what of it may still take
// effect does so until valid, and then it is begun again.
func (r *reclaim) later(valid int64) {
	if !r.told {
		r.told = true
		r.op.Err, r.op.Unknown = fateError(r.op, fateLost, ""), true
		r.op.Done.OpDone(r.op)
	}
	r.store.settler.add(task{op: r.op, valid: valid, retry: true, told: true})
	r.all.rest(r)
}

// retry begins again at once: something changed between two steps.
func (r *reclaim) retry() {
	if r.tries++; r.tries > reclaimTries {
		r.later(0)
		return
	}
	r.read()
}

// answered reports whether a step was. If not, the reclaim is begun again.
func (r *reclaim) answered(st *step) bool {
	switch st.fate {
	case fateAnswered:
		return true
	case fateBroken:
		r.finish("error", st.Err, false)
	case fateFencedInc:
		r.retry()
	case fateLost, fateFailed:
		r.later(st.valid)
	default:
		r.later(0)
	}
	return false
}

// allAnswered is answered for steps that travelled together.
func (r *reclaim) allAnswered(steps []step) bool {
	worst := -1
	valid := int64(0)
	for i := range steps {
		switch steps[i].fate {
		case fateAnswered:
			continue
		case fateLost, fateFailed:
			valid = max(valid, steps[i].valid)
		}
		if worst < 0 || steps[i].fate > steps[worst].fate {
			worst = i
		}
	}
	if worst < 0 {
		return true
	}
	steps[worst].valid = valid
	return r.answered(&steps[worst])
}

func (r *reclaim) step(kind presence.OpKind, room string) step {
	st := step{began: r.began, Op: presence.Op{
		Kind: kind, App: r.op.App, Room: room, Conn: r.op.Conn, Inc: r.inc,
		Key: r.op.Key, Client: r.op.Client, Secret: r.op.Secret, Grace: r.op.Grace,
	}}
	return st
}

// read finds out what Redis has.
func (r *reclaim) read() {
	st := r.step(opRead, "")
	st.then = func(st *step) {
		if r.answered(st) {
			r.haveRead(st.fields)
		}
	}
	r.store.ask(&st)
}

func (r *reclaim) haveRead(list []string) {
	if len(list) == 0 {
		r.absent()
		return
	}
	fields := sessionFields(list)
	inc, _ := parseDecimal([]byte(fields["inc"]))
	if r.tried && inc > r.inc && r.store.lease.had(fields["node"]) {
		r.inc = inc // made by an earlier try: nobody else here could
	}
	switch state := fields["state"]; {
	case (state == "leaving" || state == "away") && endsForGood(fields["why"]):
		r.gone()
	case state == "live" && inc == r.inc && fields["node"] == r.store.Stamp():
		r.from, _ = parseDecimal([]byte(fields["from"]))
		r.fence, _ = parseDecimal([]byte(fields["fence"]))
		r.compare(list)
	default:
		r.take = taking{
			store: r.store, who: r.op, began: r.began, newest: r.inc, least: r.inc + 1,
			unheard: r.store.lease.had, then: r.haveTaken,
		}
		r.take.look()
	}
}

// endsForGood reports whether nothing of a session that ended for this reason
// comes back.
func endsForGood(why string) bool {
	return why == string(presence.ReasonClosed) || why == string(presence.ReasonKicked)
}

// gone: somebody ended the connection. Its socket is to be closed.
func (r *reclaim) gone() {
	r.finish("gone", presence.Errorf(presence.CodeUnavailable, "the connection has ended; connect again"), true)
}

// absent makes the session anew, where Redis lost it.
func (r *reclaim) absent() {
	if !r.store.doubts.lost(r.inc) {
		r.gone()
		return
	}
	st := r.step(presence.OpOpen, "")
	st.least = r.inc + 1
	st.then = func(st *step) {
		switch {
		case st.fate == fateAnswered:
			r.store.sessions.Add(-1) // it is one that was counted before
			r.inc, r.from, r.fence, r.changed = st.NewInc, 0, 0, true
			r.compare(nil)
		case st.word == "EXISTS":
			r.retry()
		default:
			r.tried = r.tried || st.fate == fateLost || st.fate == fateFailed
			r.answered(st)
		}
	}
	r.store.ask(&st)
}

func (r *reclaim) haveTaken(k *taking) {
	switch k.ending {
	case endTaken:
		fields := sessionFields(k.fields)
		r.inc, r.fence = k.inc, k.fence
		r.from, _ = parseDecimal([]byte(fields["from"]))
		if k.state == "away" {
			r.from = k.inc
			for i := range r.op.Holds {
				r.op.Holds[i].At = 0
			}
			if endsForGood(fields["why"]) { // since it was read
				d := presence.Departure{App: r.op.App, Conn: r.conn, Inc: r.inc, Reason: presence.ReasonClosed}
				r.gone()
				r.store.sessions.Add(1)
				r.store.Depart(d)
				return
			}
		}
		r.store.graces.over(r.op.Conn)
		r.compare(k.fields)
	case endGone:
		r.absent()
	case endDenied, endLate:
		r.finish("taken", presence.Errorf(presence.CodeFenced, "another socket has the connection"), true)
	case endUnknown:
		r.tried = true
		r.later(k.valid)
	default:
		r.later(0)
	}
}

// compare lists the rooms that the session must list.
func (r *reclaim) compare(list []string) {
	r.entries = make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		if _, room, ok := parseRoomField(list[i]); ok {
			r.entries[room] = list[i+1]
		}
	}
	var tracks []step
	for _, h := range r.op.Holds {
		if listed := r.entries[h.Room]; !sameTrack(listed, h.Track) {
			st := r.step(presence.OpTrack, h.Room)
			st.Track = h.Track
			tracks = append(tracks, st)
		}
		delete(r.entries, h.Room)
	}
	r.changed = r.changed || len(tracks) > 0
	r.store.askAll(tracks, func() {
		if r.allAnswered(tracks) {
			r.members()
		}
	})
}

// sameTrack compares two entries of a room, but for the revision: that is the
// session's own.
func sameTrack(listed, held string) bool {
	if listed == "" {
		return false
	}
	flag, _, subs := parseTrack(listed)
	heldFlag, _, heldSubs := parseTrack(held)
	return flag == heldFlag && subs == heldSubs
}

// members reads what the rooms hold of the connection.
func (r *reclaim) members() {
	var reads []step
	var holds []*presence.Hold
	for i := range r.op.Holds {
		h := &r.op.Holds[i]
		h.Revision = 0
		if h.Member || strings.HasPrefix(h.Track, "p") {
			reads, holds = append(reads, r.step(opMember, h.Room)), append(holds, h)
		}
	}
	r.store.askAll(reads, func() {
		if r.allAnswered(reads) {
			r.mend(reads, holds)
		}
	})
}

// mend makes the rooms hold what the caller does: first what must not be there
// goes, then what must be there comes.
func (r *reclaim) mend(reads []step, holds []*presence.Hold) {
	var leaves, puts []step
	var put []*presence.Hold // of puts
	leave := func(room string, inc int64) {
		st := r.step(presence.OpLeave, room)
		st.Inc, st.Reason = inc, presence.ReasonUnknown
		leaves = append(leaves, st)
	}
	assert := func(h *presence.Hold) {
		st := r.step(opAssert, h.Room)
		st.ClientJSON, st.Data, st.At = h.ClientJSON, h.Data, h.At
		puts, put, r.changed = append(puts, st), append(put, h), true
	}
	for i, h := range holds {
		if reads[i].value == "" {
			if h.Member {
				assert(h)
			}
			continue
		}
		m, err := parseMember(r.op.Conn, []byte(reads[i].value))
		if err != nil {
			r.finish("error", fateError(&reads[i].Op, fateBroken, ""), false)
			return
		}
		h.At = m.At
		same := bytes.Equal(m.Client, h.ClientJSON) && bytes.Equal(m.Data, h.Data) && (m.Data == nil) == (h.Data == nil)
		switch {
		case m.Inc > r.inc:
			r.retry() // the session will show whose it is
			return
		case !h.Member: // its leave was acknowledged, and lost
			r.changed = true
			leave(h.Room, r.inc)
		case m.Inc < r.from: // of an earlier life, whose leave was told
			leave(h.Room, r.from-1)
			h.At = 0
			assert(h)
		case !same:
			assert(h)
		case m.Inc < r.inc:
			st := r.step(opAdopt, h.Room)
			st.from = r.from
			puts, put = append(puts, st), append(put, h)
		default:
			h.Revision = m.Revision
		}
	}
	var untracks []step
	for room, entry := range r.entries {
		if !strings.HasPrefix(entry, "x") { // else its fence's sweep ends it
			r.changed = true
			leave(room, r.inc)
			untracks = append(untracks, r.step(presence.OpUntrack, room))
		}
	}
	r.store.askAll(leaves, func() {
		if r.allAnswered(leaves) {
			r.put(puts, put, untracks)
		}
	})
}

// put asserts and adopts, and then ends with what is not to be listed.
func (r *reclaim) put(puts []step, put []*presence.Hold, untracks []step) {
	r.store.askAll(puts, func() {
		if !r.allAnswered(puts) {
			return
		}
		for i := range puts {
			if put[i].Revision = revisionOf(&puts[i]); put[i].Revision == 0 {
				r.retry() // it changed since it was read
				return
			}
		}
		r.store.askAll(untracks, func() {
			if !r.allAnswered(untracks) {
				return
			}
			r.seal()
		})
	})
}

// seal has nothing adopted any more that is of an earlier owner, and ends.
func (r *reclaim) seal() {
	result := "held"
	if r.changed {
		result = "asserted"
	}
	if r.fence == 0 || r.from == r.inc {
		r.finish(result, nil, false)
		return
	}
	st := r.step(opAdopted, "")
	st.then = func(st *step) {
		if r.answered(st) {
			r.finish(result, nil, false)
		}
	}
	r.store.ask(&st)
}

// revisionOf reads at which revision a membership is that was asserted or
// adopted; 0: it is none, or is as it was to be already.
func revisionOf(st *step) presence.Revision {
	if st.Kind == opAssert {
		return st.Revision
	}
	m, err := parseMember(st.Conn, []byte(st.value))
	if err != nil {
		return 0
	}
	return m.Revision
}
