package redisstore

import (
	"strings"

	presence "presencesets"
)

// What becomes of a task: delivered (Redis answered it), refused (it was
// certainly not sent), lost (sent, no answer), or ended with an error.

// deliver reads what Redis answered to one operation.
func (l *lane) deliver(t task, reply any) {
	op := t.op
	switch op.Kind {
	case presence.OpMembers:
		l.deliverMembers(t, reply)
		return
	case presence.OpCount:
		l.deliverCount(t, reply)
		return
	case presence.OpResume, opOwner, opClaim, opAdopt, opMember:
		l.deliverStep(t, reply)
		return
	case opRead, opClose:
		fields, ok := strs(reply)
		if !ok {
			l.end(t, fateBroken, fateError(op, fateBroken, ""))
			return
		}
		t.step.fields = fields
		l.end(t, fateAnswered, nil)
		return
	case opDetach:
		o := outcomeOf(reply)
		if o.word != "" {
			l.end(t, fateOfText(o.word), fateError(op, fateOfText(o.word), o.word))
			return
		}
		t.step.deadline = o.number
		l.end(t, fateAnswered, nil)
		return
	case opFinish:
		if items, ok := reply.([]any); ok && len(items) == 1 {
			reply = items[0]
		}
		if o := outcomeOf(reply); o.word == "BROKEN" {
			l.end(t, fateBroken, fateError(op, fateBroken, ""))
			return
		}
		l.end(t, fateAnswered, nil)
		return
	}
	if op.Kind == presence.OpJoin {
		reply, op.At = joinAnswer(reply)
	}
	o := outcomeOf(reply)
	if t.step != nil {
		t.step.word = o.word
	}
	if o.word != "" && o.word != "LATER" {
		f := fateOfText(o.word)
		if (f == fateFencedInc || f == fateFencedLease) && (t.step == nil || !t.step.swept) {
			l.store.metrics.FencedOperations.Inc()
		}
		err := refusal(op, o)
		if err.Code == presence.CodeInternal {
			l.store.log.Error("a key in Redis does not hold what it should", "op", opName(op.Kind),
				"app", op.App, "room", op.Room, "conn", op.Conn.String(), "code", o.word)
		}
		l.end(t, f, err)
		return
	}
	switch op.Kind {
	case presence.OpOpen:
		op.NewInc = o.number
		l.store.sessions.Add(1)
	case presence.OpJoin, presence.OpUpdate, presence.OpLeave, opMark, opAssert:
		op.Revision = presence.Revision(o.number)
	}
	if o.number != 0 {
		l.store.meters.published(op)
		if op.Kind == presence.OpLeave {
			l.store.doubts.left(op)
		}
	}
	l.end(t, fateAnswered, nil)
}

// joinAnswer splits the answer of a join, `<rev> <at>`, into what the other room
// scripts answer and the time of the first join. A word stays what it is.
func joinAnswer(reply any) (any, int64) {
	text, _ := reply.(string)
	rev, since, _ := strings.Cut(text, " ")
	if at, ok := parseDecimal([]byte(since)); ok {
		return rev, at
	}
	return reply, 0
}

// deliverStep reads the answers that only a saga asks for.
func (l *lane) deliverStep(t task, reply any) {
	st := t.step
	list, isList := reply.([]any)
	readable := true
	switch t.op.Kind {
	case opOwner:
		if readable = isList && len(list) == 2; readable {
			st.owner, _ = list[0].(string)
			inc, _ := list[1].(string)
			st.NewInc, _ = parseDecimal([]byte(inc))
		}
	case opMember:
		st.value, _ = reply.(string)
	case opAdopt:
		switch o := outcomeOf(reply); {
		case strings.HasPrefix(o.word, "{"):
			st.value = o.word
		case fateOfText(o.word) == fateFencedInc:
			l.end(t, fateFencedInc, fateError(t.op, fateFencedInc, ""))
			return
		default:
			st.word, readable = o.word, o.word == "" || o.word == "OLD"
		}
	case opClaim:
		if readable = isList && len(list) > 0; readable {
			st.claim, _ = list[0].(int64)
			if len(list) == 3 {
				st.fields, readable = strs(list[2])
			}
		}
	case presence.OpResume:
		switch {
		case !isList:
			st.word = outcomeOf(reply).word
			readable = st.word != "BROKEN"
		case len(list) == 4:
			st.NewInc, _ = list[0].(int64)
			st.ends, _ = list[1].(int64)
			st.state, _ = list[2].(string)
			st.fields, readable = strs(list[3])
		default:
			readable = false
		}
	}
	if !readable {
		l.store.log.Error("a key in Redis does not hold what it should", "op", opName(t.op.Kind),
			"app", t.op.App, "room", t.op.Room, "conn", t.op.Conn.String(), "code", st.word)
		l.end(t, fateBroken, fateError(t.op, fateBroken, ""))
		return
	}
	l.end(t, fateAnswered, nil)
}

// deliverCount reads the answer of MULTI, HGET #, HLEN, EXEC.
func (l *lane) deliverCount(t task, reply any) {
	items, ok := reply.([]any)
	if !ok || len(items) != 2 {
		l.end(t, fateFailed, fateError(t.op, fateFailed, ""))
		return
	}
	fields, ok := items[1].(int64)
	if !ok {
		l.end(t, fateBroken, fateError(t.op, fateBroken, ""))
		return
	}
	if rev, ok := items[0].(string); ok {
		n, _ := parseDecimal([]byte(rev)) // 0, no revision, where somebody's hand wrote something else
		t.op.Revision = presence.Revision(n)
		fields--
	}
	t.op.Count = fields
	l.end(t, fateAnswered, nil)
}

// deliverMembers reads the answer of HGETALL, for all who share it. A member
// that cannot be read was written by somebody's hand; it is left out.
func (l *lane) deliverMembers(t task, reply any) {
	fields, ok := strs(reply)
	if !ok {
		l.end(t, fateBroken, fateError(t.op, fateBroken, ""))
		return
	}
	var snap presence.Snapshot
	if len(fields) > 2 {
		snap.Members = make([]presence.Member, 0, len(fields)/2-1)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == fieldRevision {
			n, _ := parseDecimal([]byte(fields[i+1]))
			snap.Revision = presence.Revision(n)
			continue
		}
		conn, ok := presence.ParseConnID(fields[i])
		if !ok {
			l.store.log.Warn("a room holds a field that is no connection", "app", t.op.App, "room", t.op.Room, "count", len(fields[i]))
			continue
		}
		m, err := parseMember(conn, []byte(fields[i+1]))
		if err != nil {
			l.store.log.Warn("a room holds an unreadable member", "app", t.op.App, "room", t.op.Room, "err", err)
			continue
		}
		snap.Members = append(snap.Members, m)
	}
	t.op.Snapshot = snap
	l.end(t, fateAnswered, nil)
}

// end tells the caller, for good, how its operation went.
func (l *lane) end(t task, f fate, err *presence.Error) {
	if t.step != nil {
		t.step.fate, t.op.Err = f, err
		t.step.then(t.step)
		return
	}
	if t.read == nil {
		t.op.Err, t.op.Unknown = err, false
		t.op.Ended = f == fateFencedInc || f == fateAway && err != nil && err.Code == presence.CodeFenced
		t.op.Done.OpDone(t.op)
		return
	}
	for i, op := range t.read.ops {
		op.Err, op.Revision = err, t.op.Snapshot.Revision
		if i > 0 { // each may sort its own
			op.Snapshot.Revision = t.op.Snapshot.Revision
			op.Snapshot.Members = append([]presence.Member(nil), t.op.Snapshot.Members...)
		}
	}
	ops := t.read.ops
	l.readDone(t.read)
	for i := len(ops) - 1; i >= 0; i-- { // the first is copied from: it comes last
		ops[i].Done.OpDone(ops[i])
	}
}

// refuse ends a task that was not sent. A repeat stays unsettled: what was
// sent before may still take effect.
func (l *lane) refuse(t task, err *presence.Error) {
	switch {
	case t.step != nil:
		l.end(t, fateAway, err)
	case !t.retry || err.Code == presence.CodeFenced:
		l.end(t, fateAway, err)
	default:
		l.unsettled(t, 0)
	}
}

// moved sends a task again that another master has to answer. This one did not
// run it.
func (l *lane) moved(t task) {
	if t.read != nil {
		l.mu.Lock()
		delete(l.reads, t.read.key)
		t.read.ops = append(t.read.ops, t.read.next...)
		l.waiting -= len(t.read.next)
		l.mu.Unlock()
	}
	l.store.masters.park(t)
}

// lost ends, for now, a task that was sent and not answered.
func (l *lane) lost(t task, validUntil int64) {
	switch t.op.Kind {
	case presence.OpMembers, presence.OpCount, presence.OpPublish:
		// Nothing is stored, so there is nothing to settle. A message may
		// have been sent; to send it twice would be worse.
		l.end(t, fateLost, fateError(t.op, fateLost, ""))
		return
	}
	if t.step != nil {
		l.end(t, fateLost, fateError(t.op, fateLost, ""))
		return
	}
	l.unsettled(t, validUntil)
}

// unsettled tells the caller that the outcome is unknown, once, and has it
// settled when nothing of it travels any more.
func (l *lane) unsettled(t task, validUntil int64) {
	if t.valid < validUntil {
		t.valid = validUntil
	}
	if l.store.departed.has(t.op) {
		l.end(t, fateLost, errDeparted())
		return
	}
	if !t.told {
		t.told = true
		t.op.Err, t.op.Unknown = fateError(t.op, fateLost, ""), true
		t.op.Done.OpDone(t.op)
	}
	l.store.settler.add(t)
}

// repeat sends a task again, at once: Redis answered the call that failed, so
// nothing of it travels any more.
func (l *lane) repeat(t task, validUntil int64) {
	if t.valid < validUntil {
		t.valid = validUntil
	}
	if !l.push(t) {
		l.lost(t, validUntil)
	}
}
