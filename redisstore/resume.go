package redisstore

import (
	"strings"

	presence "presencesets"
)

// A socket that shows the id of an earlier one. Its session is taken, whatever
// it is, and its memberships go on without an event:
//
//	                   ┌─ GONE ──▶ open (the same id, nothing restored)
//	Submit ──▶ take ───┼─ taken ─▶ adopt × rooms ──▶ adopted ──▶ Done
//	                   └─ DENIED, LATE ────────────────────────▶ Done(error)
//
// The answer is given within opLife, and not before every room was asked: what
// the client is told of its memberships are the answers of adopt, and not what
// the session lists. A fence that the session has is noted (fence.go): until
// then an earlier owner may still write, and at it the rooms are looked at once
// more. What lands meanwhile must not be adopted by the resume after this one:
// its client may have left since, and was told so. So the session says from
// when on members are its own, before the client can ask for anything.
//
// Whoever is refused has no socket, so nothing may stay live under this node:
// what was taken and could not be adopted in time is detached, and what may have
// been taken is, too, when it can no longer happen (settle.go, abortResume).

// resume is one OpResume.
type resume struct {
	// set once
	store  *Store
	op     *presence.Op
	lane   *lane // among whose operations it counts
	began  int64 // the store's clock
	doubts int64 // how often Redis's past was in doubt then

	take     taking
	restored *presence.Restored
	adopts   []step
}

// resume hands over an OpResume. It never blocks.
func (s *Store) resume(op *presence.Op) *presence.Error {
	if s.settler.opening(op.Conn) {
		return errEnding()
	}
	if !s.lease.windowOf(op.Conn.Shard()) {
		return errLapsed()
	}
	g := s.lease.grant.Load()
	l := s.lane(op)
	if err := l.enter(); err != nil {
		return err
	}
	r := &resume{store: s, op: op, lane: l, began: s.clock(), doubts: s.doubts.count.Load()}
	r.take = taking{store: s, who: op, began: r.began, newest: g.upper(r.began), then: r.haveTaken}
	may := func() bool { return !s.settler.opening(op.Conn) && !s.departures.departing(op.Conn) }
	s.turns.enter(op.Conn, s.left(r.began), may, func(ok bool) {
		if !ok {
			r.answer("error", errEnding())
			return
		}
		r.take.look()
	})
	return nil
}

// finish answers, and lets the next one take the connection.
func (r *resume) finish(result string, err *presence.Error) {
	conn := r.op.Conn // from the answer on the operation is the caller's
	r.answer(result, err)
	r.store.turns.exit(conn)
}

func (r *resume) answer(result string, err *presence.Error) {
	r.store.metrics.Resumes.WithLabelValues(result).Inc()
	r.lane.exit()
	r.op.Err, r.op.Unknown, r.op.Ended = err, false, false
	r.op.Done.OpDone(r.op)
}

// unknown answers that the session may yet become this node's. When it no
// longer can, it is detached if it did.
func (r *resume) unknown(valid int64) {
	r.store.metrics.Resumes.WithLabelValues("error").Inc()
	l, conn := r.lane, r.op.Conn
	l.exit()
	l.unsettled(task{op: r.op, seen: r.take.seen}, valid)
	r.store.turns.exit(conn)
}

func (r *resume) haveTaken(k *taking) {
	switch k.ending {
	case endTaken:
		r.store.sessions.Add(1)
		r.store.graces.over(r.op.Conn)
		r.restore()
	case endGone:
		r.open()
	case endDenied:
		r.finish("denied", presence.Errorf(presence.CodeForbidden, "the connection id is another client's"))
	case endLate:
		err := presence.Errorf(presence.CodeUnavailable, "a newer socket has the connection")
		err.RetryAfterMs = opLife.Milliseconds()
		r.finish("late", err)
	case endUnknown:
		r.unknown(k.valid)
	default:
		r.finish("error", k.err)
	}
}

// open makes a session under the id of one that is gone.
func (r *resume) open() {
	r.store.ask(&step{Op: r.take.op(presence.OpOpen), began: r.began, then: func(st *step) {
		switch {
		case st.fate == fateAnswered:
			r.op.NewInc = st.NewInc
			if r.doubted() {
				return
			}
			r.finish("new", nil)
		case st.word == "EXISTS": // somebody was quicker
			r.take.look()
		case st.fate == fateLost || st.fate == fateFailed:
			r.unknown(st.valid)
		default:
			r.finish("error", st.Err)
		}
	}})
}

// restore reads what the session was, and adopts its memberships.
func (r *resume) restore() {
	k := &r.take
	r.op.NewInc = k.inc
	r.restored = restored(k.state, k.fields)
	if now := r.store.lease.grant.Load().upper(r.store.clock()); r.restored.Lost > now {
		// That was a drain, whose grace is longer than the session's own.
		due, _ := parseDecimal([]byte(sessionFields(k.fields)["due"]))
		r.restored.Lost = min(now, due-r.store.opts.DrainGrace.Milliseconds())
	}
	if k.state == "live" {
		// When its socket was lost is not known. But its node has beaten within a
		// lease, and a node that does not answer has handed it nothing since it died.
		g := r.store.lease.grant.Load()
		r.restored.Lost = g.lower(r.store.clock()) - r.store.opts.LeaseTTL.Milliseconds()
	}
	if k.state == "away" {
		r.haveAdopted() // its memberships ended
		return
	}
	from, _ := parseDecimal([]byte(sessionFields(k.fields)["from"]))
	for _, room := range r.restored.Rooms {
		if !strings.HasPrefix(room.Track, "p") {
			continue
		}
		st := step{Op: k.op(opAdopt), began: r.began, from: from}
		st.Room, st.Inc = room.Room, k.inc
		r.adopts = append(r.adopts, st)
	}
	r.store.askAll(r.adopts, r.haveAdopted)
}

// haveAdopted fills in the memberships that go on. What an earlier life left
// behind, whose leaves were told, does not: it ends before anything else.
func (r *resume) haveAdopted() {
	var old []step
	members := make(map[string]presence.Member, len(r.adopts))
	for i := range r.adopts {
		st := &r.adopts[i]
		switch {
		case st.fate == fateBroken: // nobody's room; an error of it was logged
		case st.fate != fateAnswered:
			r.undo(st.Err)
			return
		case st.word == "OLD":
			left := step{Op: r.take.op(presence.OpLeave), began: r.began}
			left.Room, left.Inc, left.Reason = st.Room, st.from-1, presence.ReasonUnknown
			old = append(old, left)
		case st.value != "":
			m, err := parseMember(r.op.Conn, []byte(st.value))
			if err != nil {
				r.undo(fateError(&st.Op, fateBroken, ""))
				return
			}
			members[st.Room] = m
		}
	}
	for i := range r.restored.Rooms {
		room := &r.restored.Rooms[i]
		if m, ok := members[room.Room]; ok {
			room.Member, room.Revision, room.At, room.Data = true, m.Revision, m.At, m.Data
		}
	}
	r.store.askAll(old, func() {
		for i := range old {
			if f := old[i].fate; f != fateAnswered && f != fateBroken {
				r.undo(old[i].Err)
				return
			}
		}
		r.seal()
	})
}

// seal has nothing adopted any more that is of an earlier owner.
func (r *resume) seal() {
	if r.take.fence == 0 || r.take.state == "away" { // nothing of it can land; or the resume did so
		r.succeed()
		return
	}
	st := step{Op: r.take.op(opAdopted), began: r.began}
	st.Inc, st.then = r.take.inc, func(st *step) {
		if st.fate != fateAnswered {
			r.undo(st.Err)
			return
		}
		r.succeed()
	}
	r.store.ask(&st)
}

func (r *resume) succeed() {
	if r.doubted() {
		return
	}
	if r.take.fence > 0 {
		r.store.fences.add(r.op.Conn, r.op.NewInc, r.take.fence)
	}
	r.op.Restored = r.restored
	if r.take.state == "away" {
		r.finish("away", nil)
		return
	}
	r.finish("ok", nil)
}

// doubted reports whether Redis lost its past meanwhile: perhaps with it what
// this saga did, and nobody would look for it. Then the connection is detached
// and its client told to try again.
func (r *resume) doubted() bool {
	if r.doubts == r.store.doubts.count.Load() {
		return false
	}
	r.undo(presence.Errorf(presence.CodeUnavailable, "Redis was started anew"))
	return true
}

// undo detaches what was taken, and refuses the caller.
func (r *resume) undo(err *presence.Error) {
	d := presence.Detachment{
		App: r.op.App, Conn: r.op.Conn, Inc: r.op.NewInc, Grace: r.op.Grace,
		Reason: presence.ReasonTimeout, Unanswered: true,
	}
	if r.restored != nil {
		for _, room := range r.restored.Rooms {
			d.Rooms = append(d.Rooms, room.Room)
		}
	}
	r.store.Detach(d)
	r.op.NewInc = 0
	if err.Code == presence.CodeFenced { // the next try finds who has it
		err = presence.Errorf(presence.CodeUnavailable, "%s", err.Message)
	}
	r.finish("error", err)
}

// restored reads the fields of a session as it was when it was taken.
func restored(state string, list []string) *presence.Restored {
	fields := sessionFields(list)
	why := presence.Reason(fields["why"])
	was := &presence.Restored{State: state, From: fields["node"]}
	if state == "live" {
		// Its socket is not known to be lost, so nobody wrote what it was
		// handed: what the session lists is of an earlier loss.
		was.Rooms = listed(list, false)
		return was
	}
	due, _ := parseDecimal([]byte(fields["due"]))
	grace, _ := parseDecimal([]byte(fields["grace"]))
	was.Lost = max(0, due-grace)
	switch {
	case state == "away" && (why == presence.ReasonClosed || why == presence.ReasonKicked):
	case why == presence.ReasonNodeLost, state == "grace" && why != "":
		// As above: its node ended, and nobody wrote what it had been handed.
		was.Rooms = listed(list, false)
	default:
		was.Rooms = listed(list, true)
	}
	return was
}

// listed reads the rooms of a session, without those that were left. handed
// says whether their revisions were written when the socket was lost.
func listed(list []string, handed bool) []presence.Listed {
	var rooms []presence.Listed
	for i := 0; i+1 < len(list); i += 2 {
		_, room, ok := parseRoomField(list[i])
		flag, revision, _ := parseTrack(list[i+1])
		if !ok || flag == "x" {
			continue
		}
		l := presence.Listed{Room: room, Track: list[i+1]}
		if handed {
			l.Handed = revision
		}
		rooms = append(rooms, l)
	}
	return rooms
}

// parseTrack reads a session's entry of a room, `FLAG REV SUBS`.
func parseTrack(value string) (flag string, revision presence.Revision, subs string) {
	flag, rest, _ := strings.Cut(value, " ")
	rev, subs, _ := strings.Cut(rest, " ")
	n, _ := parseDecimal([]byte(rev))
	return flag, presence.Revision(n), subs
}
