package node

import (
	"crypto/rand"
	"slices"
	"time"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/protocol"
)

// The way of a request through the store, in order within its room.
//
//	queued in its entry ▶ start ▶ submit ▶ … ▶ completed ▶ proceed ▶ next step, or answered
//
// Rooms that got something new in a turn are started at its end. What waits for
// longer than waitMs is refused; what is in doubt keeps its room until the
// store has settled it.

type readyEntry struct {
	ref connRef
	e   *entry
}

// readyRoom has e's queue looked at after this turn's frames were read.
func (l *loop) readyRoom(c *conn, e *entry) {
	if e.current == nil {
		l.ready = append(l.ready, readyEntry{c.ref(), e})
	} else {
		l.noteWaits(e)
	}
}

// noteWaits has the requests that stay queued in e refused when their time is over.
func (l *loop) noteWaits(e *entry) {
	for _, r := range e.queue {
		l.noteWait(r)
	}
}

// noteWait has r refused, or doubted, when its time is over.
func (l *loop) noteWait(r *request) {
	if r.waits {
		return
	}
	r.waits = true
	w := waiting{r, r.began, r.began.Add(waitMs * time.Millisecond)}
	i := len(l.waits)
	for i > 0 && w.until.Before(l.waits[i-1].until) { // a later step of an early request
		i--
	}
	l.waits = slices.Insert(l.waits, i, w)
}

// startReady starts the rooms that got something new in this turn.
func (l *loop) startReady() {
	for i := 0; i < len(l.ready); i++ { // starting one may make others ready
		r := l.ready[i]
		if c := l.conns.get(r.ref); c != nil && c.state == stateOpen {
			func() {
				defer l.recovered(r.ref)
				l.startNext(c, r.e)
			}()
		}
	}
	clear(l.ready)
	l.ready = l.ready[:0]
}

// startAll starts what c has asked for in this turn, before its end is handled.
func (l *loop) startAll(c *conn) {
	for e := c.entries; e != nil; {
		next := e.next // starting e may drop it
		if e.current == nil {
			l.startNext(c, e)
		}
		e = next
	}
}

// waiting is a request that could not be sent at once. It is named by its
// pointer and its beginning, since requests are used again.
type waiting struct {
	req   *request
	began time.Time
	until time.Time
}

// expireWaits refuses requests that have waited for others of their room for
// too long; they were never sent, so the refusal is final. Those that are on
// their second step are answered, too: 2 s is for the whole of a request.
func (l *loop) expireWaits() {
	for len(l.waits) > 0 && !l.now.Before(l.waits[0].until) {
		w := l.waits[0]
		l.waits = l.waits[1:]
		if r := w.req; !r.freed && r.began == w.began && r.entry != nil {
			l.expireWait(r)
		}
	}
	if len(l.waits) == 0 {
		l.waits = nil
	}
}

func (l *loop) expireWait(r *request) {
	defer l.recovered(r.ref)
	c, e := l.conns.get(r.ref), r.entry
	if c == nil {
		return
	}
	if e.current == r { // at a later step: the store's own 2 s began with that
		l.doubted(c, r, presence.Errorf(presence.CodeUnavailable, "the store answers too slowly: only a part of the request was done; try again"))
		return
	}
	i := slices.Index(e.queue, r)
	if i < 0 {
		return
	}
	e.queue = slices.Delete(e.queue, i, i+1)
	l.finishRequest(c, r, presence.Errorf(presence.CodeUnavailable, "the store does not answer: nothing was sent; try again"))
	r.release()
	if c.state == stateOpen {
		l.dropIdle(c, e) // nothing else may come to look at it: its connection may wait for a reclaim
	}
}

// startNext sends the next request of e to the store, answering on the way
// those that need none.
func (l *loop) startNext(c *conn, e *entry) {
	for e.current == nil && len(e.queue) > 0 && !l.unsure(c) {
		r := e.queue[0]
		e.queue[0] = nil
		e.queue = e.queue[1:]
		if len(e.queue) == 0 {
			e.queue = nil
		}
		if isSubscription(r.typ) {
			last := r
			for len(e.queue) > 0 && isSubscription(e.queue[0].typ) {
				last.chain = e.queue[0]
				last = last.chain
				e.queue[0] = nil
				e.queue = e.queue[1:]
			}
		}
		if !l.start(c, e, r) {
			r.release()
		}
	}
	if e.current == nil && len(e.queue) == 0 {
		l.dropIdle(c, e)
	} else {
		l.noteWaits(e)
	}
}

func isSubscription(t protocol.Type) bool {
	switch t {
	case protocol.TypeBind, protocol.TypeUnbind, protocol.TypePresenceSubscribe,
		protocol.TypePresenceUnsubscribe, protocol.TypePresenceUnsubscribeAll:
		return true
	}
	return false
}

// start begins r in e. It reports false when r was answered without the store.
func (l *loop) start(c *conn, e *entry, r *request) (sent bool) {
	lim := &l.node.opts.Limits
	switch r.typ {
	case protocol.TypeRoomJoin:
		if e.joined {
			l.finishRequest(c, r, nil)
			return false
		}
		r.op.Kind, r.op.MaxRooms = presence.OpTrack, lim.Rooms
		r.op.Track = l.trackLine(c, e, 0, nil)
	case protocol.TypeRoomLeave:
		if !e.joined {
			l.finishRequest(c, r, nil)
			return false
		}
		l.leaveLists(e)
		if e.member {
			r.op.Kind, r.op.Reason = presence.OpLeave, presence.ReasonRoomLeft
			r.op.Data = nil
		} else {
			r.op.Kind = presence.OpUntrack
		}
	case protocol.TypeBind, protocol.TypeUnbind, protocol.TypePresenceSubscribe,
		protocol.TypePresenceUnsubscribe, protocol.TypePresenceUnsubscribeAll:
		return l.startSubscriptions(c, e, r)
	case protocol.TypePresenceJoin, protocol.TypePresenceUpdate:
		if !e.joined {
			l.finishRequest(c, r, notInRoom(e.room.name))
			return false
		}
		r.op.Kind, r.op.MaxMembers = presence.OpJoin, lim.Members
		switch {
		case r.typ == protocol.TypePresenceUpdate:
			r.op.Kind, r.kinds = presence.OpUpdate, maskUpdate
		case e.member:
			r.kinds = maskJoin | maskUpdate
		default: // an update that comes now is of an earlier membership
			r.kinds = maskJoin
			l.setMember(e, true)
		}
		n := len(r.buf)
		r.buf = protocol.AppendString(r.buf, c.client) // behind the data
		r.op.ClientJSON = r.buf[n:]
		if r.op.Data != nil {
			r.op.Data = r.buf[:n:n]
		}
	case protocol.TypePresenceLeave:
		if !e.joined {
			l.finishRequest(c, r, nil)
			return false
		}
		r.op.Kind, r.op.Reason, r.kinds = presence.OpLeave, presence.ReasonLeft, maskLeave
	case protocol.TypePresenceGet:
		r.op.Kind = presence.OpMembers
	case protocol.TypePresenceCount:
		r.op.Kind = presence.OpCount
	case protocol.TypePublish:
		l.compose(c, r)
		r.op.Kind = presence.OpPublish
	}
	return l.submit(c, e, r)
}

// submit hands r to the store as the current request of e.
func (l *loop) submit(c *conn, e *entry, r *request) (sent bool) {
	r.op.App, r.op.Room, r.op.Conn, r.op.Inc = e.room.app, e.room.name, c.id, c.inc
	e.current = r
	if err := l.node.opts.Store.Submit(&r.op); err != nil {
		e.current = nil
		l.finishChain(c, r, err)
		l.dropPending(e)
		return false
	}
	return true
}

// finishChain acknowledges r and the subscriptions that travelled with it,
// and releases the latter.
func (l *loop) finishChain(c *conn, r *request, err *presence.Error) {
	for at := r; at != nil; at = at.chain {
		l.finishRequest(c, at, err)
	}
	chain := r.chain
	r.chain = nil
	chain.abandon()
}

// compose makes the message of a publish.
func (l *loop) compose(c *conn, r *request) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	r.id = protocol.MessageID(random)
	m := protocol.Message{
		ID: r.id, Event: []byte(r.event), Data: r.op.Data, App: c.key.App.ID,
		Conn: c.id, HasConn: true, TimestampMs: l.now.UnixMilli(),
	}
	if c.client != "" {
		m.Client = protocol.AppendString(nil, c.client)
	}
	r.op.Data = protocol.AppendMessage(make([]byte, 0, len(m.Data)+256), &m)
}

// trackLine is the session's line of a room: what is restored there.
func (l *loop) trackLine(c *conn, e *entry, mask uint8, binds []string) string {
	var line [256]byte
	b := append(line[:0], "- 0 "...)
	if c.client != "" && c.key.Permissions.Allows(e.room.name, auth.PermPresence) {
		b[0] = 'p'
	}
	return string(subscriptions(b, mask, binds))
}

// completed is the store's answer to r. With unknown it is not the last: the
// operation may still take effect, and the store may be writing r.op, which
// nobody reads before the second answer.
func (l *loop) completed(r *request, unknown *presence.Error) {
	defer l.recovered(r.ref)
	c := l.conns.get(r.ref)
	switch r.errand {
	case errandReclaim:
		if unknown == nil {
			l.reclaimed(c, r)
			r.release()
		}
		return
	case errandOpen:
		switch {
		case c != nil && c.state == stateAuthorising && c.in != nil && c.in.hand != nil && c.in.hand.req == r:
			l.opened(c, r, unknown)
		case unknown == nil:
			l.orphaned(r)
		}
		if unknown == nil {
			r.release()
		}
		return
	}
	e := r.entry
	if c == nil || e == nil || e.current != r {
		l.completedLate(r, unknown)
		if unknown == nil { // its connection has ended; the store settles what is open
			chain := r.chain
			r.chain = nil
			chain.abandon()
			r.release()
		}
		return
	}
	if unknown != nil {
		l.doubted(c, r, unknown)
		return
	}
	ended := r.op.Ended
	if l.proceed(c, e, r) {
		return // a further step was sent
	}
	if r.entry == nil { // acknowledging it has ended the connection
		r.release()
		return
	}
	e.current = nil
	if r.errand == errandRestore {
		l.restored(c, e, r)
	}
	r.release()
	switch {
	case c.state != stateOpen:
	case ended:
		l.suspect(c) // somebody else has it, or nobody: the store knows
	default:
		l.ready = append(l.ready, readyEntry{c.ref(), e})
	}
}

// doubted tells the client that r may or may not take effect. Nothing else of
// the room is sent before its real outcome is known.
func (l *loop) doubted(c *conn, r *request, err *presence.Error) {
	for at := r; at != nil; at = at.chain {
		at.doubt = true
		l.finishRequest(c, at, err)
	}
}

// proceed takes r one step further after an answer: it acknowledges it, or
// sends its next step and reports true.
func (l *loop) proceed(c *conn, e *entry, r *request) (more bool) {
	err := r.op.Err
	switch r.typ {
	case protocol.TypeRoomJoin:
		if err == nil {
			e.joined = true
		}
	case protocol.TypeRoomLeave:
		if r.op.Kind == presence.OpLeave {
			if err != nil {
				break // the room stays listed, so that its membership is ended with the connection
			}
			l.setMember(e, false)
			e.present, e.data, e.at = false, "", 0
			r.op.Kind = presence.OpUntrack
			r.op.Revision = 0
			l.noteWait(r)
			return l.submit(c, e, r)
		}
		if err == nil {
			e.joined, e.present, e.data, e.at = false, false, "", 0
		}
	case protocol.TypePresenceJoin, protocol.TypePresenceUpdate:
		if err == nil {
			e.answer = max(e.answer, r.op.Revision)
			e.present, e.data = true, string(r.op.Data)
			if r.typ == protocol.TypePresenceJoin {
				e.at = r.op.At
			}
		} else if r.typ == protocol.TypePresenceJoin && e.answer == 0 && err.Code == presence.CodeLimit {
			l.setMember(e, false) // the one refusal that proves that it is none
		}
	case protocol.TypePresenceLeave:
		if err == nil {
			e.answer = max(e.answer, r.op.Revision)
			l.setMember(e, false)
			e.present, e.data, e.at = false, "", 0
		}
	case protocol.TypeBind, protocol.TypeUnbind, protocol.TypePresenceSubscribe,
		protocol.TypePresenceUnsubscribe, protocol.TypePresenceUnsubscribeAll:
		return l.proceedSubscriptions(c, e, r)
	}
	l.finishRequest(c, r, err)
	return false
}
