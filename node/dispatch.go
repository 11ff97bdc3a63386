package node

import (
	"crypto/rand"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/protocol"
)

// From a frame to its acknowledgement.
//
//	frame ▶ message ▶ decode ▶ rate ▶ permission ▶ [waits in its room] ▶ store ▶ acknowledge
//
// What can be answered without the store is answered in the same turn. The
// rest waits in its entry until the turn has read all it will read: then the
// rooms that have something new start it, and subscriptions that came together
// travel together.

// frame handles one whole frame.
func (l *loop) frame(c *conn, h ws.Header, payload []byte) {
	l.stats.BytesIn += uint64(len(payload))
	switch h.OpCode {
	case ws.OpPing:
		if c.state == stateOpen {
			l.flushReplies() // in order
		}
		if c.state == stateOpen {
			l.stats.FramesOut++
			l.send(c, appendFrame(l.scratch[:0], ws.OpPong, payload), false)
		}
		return
	case ws.OpPong:
		return // lastSeen is all that it says
	case ws.OpClose:
		l.closeFrame(c, payload)
		return
	case ws.OpBinary:
		if c.state == stateOpen {
			l.closeWith(c, ws.StatusUnsupportedData, "binary frames are not part of the protocol", endProtocol)
		}
		return
	}
	if c.state != stateOpen {
		return // closing: only the peer's close frame counts
	}
	if h.OpCode == ws.OpText && h.Fin {
		l.message(c, payload)
		return
	}
	if c.in == nil {
		c.in = &inbuf{}
	}
	in := c.in
	if need := len(in.msg) + len(payload); need > cap(in.msg) {
		bigger := append(l.buffers.get(need), in.msg...)
		l.buffers.put(in.msg)
		in.msg = bigger
	}
	in.msg = append(in.msg, payload...)
	l.partial += len(payload)
	c.flags |= flagFrag
	if !h.Fin {
		return
	}
	c.flags &^= flagFrag
	msg := in.msg
	in.msg = nil
	l.partial -= len(msg)
	l.message(c, msg)
	l.buffers.put(msg)
}

// closeFrame answers the peer's close frame, or ends the wait for it.
func (l *loop) closeFrame(c *conn, payload []byte) {
	if c.state != stateOpen {
		l.destroy(c, endNone)
		return
	}
	code := ws.StatusNoStatusRcvd
	answer := []byte(nil)
	if len(payload) == 1 {
		l.closeWith(c, ws.StatusProtocolError, "a close frame of one byte", endProtocol)
		return
	}
	if len(payload) >= 2 {
		var text string
		code, text = ws.ParseCloseFrameDataUnsafe(payload)
		if err := ws.CheckCloseFrameData(code, text); err != nil {
			l.closeWith(c, ws.StatusProtocolError, err.Error(), endProtocol)
			return
		}
		answer = payload[:2]
	}
	// 1000, 1001 and no code are a client that goes; anything else is trouble.
	reason, why := presence.ReasonTimeout, endLost
	switch code {
	case ws.StatusNormalClosure, ws.StatusGoingAway, ws.StatusNoStatusRcvd:
		reason, why = presence.ReasonClosed, endClosed
	}
	l.startAll(c)
	l.flushReplies()
	if c.state != stateOpen {
		return
	}
	l.endSession(c, reason, why)
	l.send(c, appendFrame(l.scratch[:0], ws.OpClose, answer), false)
	l.destroy(c, why)
}

// message handles one whole text message.
func (l *loop) message(c *conn, msg []byte) {
	if !utf8.Valid(msg) {
		l.closeWith(c, ws.StatusInvalidFramePayloadData, "a text message that is not UTF-8", endProtocol)
		return
	}
	r := &l.req
	if err := l.dec.Decode(msg, r); err != nil {
		if r.AckID != nil {
			if limited := l.admitRate(c, protocol.LimitOther); limited != nil {
				err = limited // rubbish is not cheaper than sense
			}
			l.ackError(c, r.Type, r.AckID, l.now, err)
		} else if r.Malformed {
			if c.bad++; c.bad >= badFrames {
				l.closeWith(c, ws.StatusPolicyViolation, "the third message that is no request", endPolicy)
			}
		}
		return
	}
	if err := l.admit(c, r); err != nil {
		l.ackError(c, r.Type, r.AckID, l.now, err)
		return
	}
	l.dispatch(c, r)
}

// admit checks the rate and the permission of a request.
func (l *loop) admit(c *conn, r *protocol.Request) *presence.Error {
	if err := l.admitRate(c, r.Type.Limited()); err != nil {
		return err
	}
	var need auth.Permission
	switch r.Type {
	case protocol.TypeRoomCreate:
		need = auth.PermCreate
	case protocol.TypeRoomJoin:
		if !c.key.Permissions.Any(string(r.Room)) {
			return presence.Errorf(presence.CodeForbidden, "no permission for room %q", r.Room)
		}
	case protocol.TypeBind:
		need = auth.PermSubscribe
	case protocol.TypePublish:
		need = auth.PermPublish
	case protocol.TypePresenceJoin, protocol.TypePresenceUpdate, protocol.TypePresenceGet,
		protocol.TypePresenceCount, protocol.TypePresenceSubscribe:
		need = auth.PermPresence
	}
	if need != "" && !c.key.Permissions.Allows(string(r.Room), need) {
		return presence.Errorf(presence.CodeForbidden, "%s is not permitted in room %q", need, r.Room)
	}
	if c.client == "" && (r.Type == protocol.TypePresenceJoin || r.Type == protocol.TypePresenceUpdate) {
		return presence.Errorf(presence.CodeNoClientID,
			"this connection has no clientId, so it cannot be present: connect with a clientId beside the apiKey").WithField("clientId")
	}
	return nil
}

// admitRate takes one request of that class from c's rate.
func (l *loop) admitRate(c *conn, class uint8) *presence.Error {
	var (
		rate    Rate
		b       *bucket
		setting string
	)
	switch class {
	case protocol.LimitRequests:
		rate, b, setting = l.node.opts.Limits.Requests, &c.requests, "requests"
	case protocol.LimitOther:
		rate, b, setting = l.node.opts.Limits.OtherRequests, &c.others, "other_requests"
	default:
		return nil
	}
	ok, wait := b.take(rate, l.tick8)
	if ok {
		return nil
	}
	l.m.limit(setting)
	err := presence.Errorf(presence.CodeRateLimited, "more than %d requests of this kind in %v; try again in %d ms",
		rate.Burst, rate.Per, wait.Milliseconds()+1).WithLimit(int64(rate.Burst))
	err.RetryAfterMs = wait.Milliseconds() + 1
	return err
}

// dispatch answers what needs no store and queues the rest in its room.
func (l *loop) dispatch(c *conn, r *protocol.Request) {
	app := c.key.App.ID
	switch r.Type {
	case protocol.TypeUnknown, protocol.TypeNotSupported:
		l.ackError(c, r.Type, r.AckID, l.now, presence.Errorf(presence.CodeNotSupported, "this server does not offer this request").WithField("type"))
		return
	case protocol.TypeAcknowledgeOnly:
		l.ackData(c, r.Type, r.AckID, jsonTrue)
		return
	case protocol.TypeMetricsUnsubscribe:
		if r.AckID != nil {
			l.scratch = protocol.AppendAckText(l.scratch[:0], r.AckID, app, ":", string(r.Room), protocol.MetricsInfix, string(r.Event))
			l.reply(c, l.scratch)
		}
		l.m.done(r.Type, "", 0)
		return
	case protocol.TypeRoomCreate:
		if r.Password || r.Visibility != nil && string(r.Visibility) != "public" {
			l.ackError(c, r.Type, r.AckID, l.now, presence.Errorf(presence.CodeNotSupported, "rooms are public here: no password, and no visibility but public").WithField("visibility"))
			return
		}
		if r.AckID != nil {
			l.scratch = protocol.AppendAckCreated(l.scratch[:0], r.AckID, app, string(r.Room))
			l.reply(c, l.scratch)
		}
		l.m.done(r.Type, "", 0)
		return
	}
	e := c.entry(r.Room)
	if e == nil {
		switch r.Type {
		case protocol.TypeRoomJoin, protocol.TypePublish, protocol.TypePresenceGet, protocol.TypePresenceCount:
			e = l.newEntry(c, r.Room)
		}
	}
	req := l.newRequest(c)
	req.typ = r.Type
	req.entry = e
	req.ack = append(req.ack, r.AckID...)
	if r.AckID == nil {
		req.ack = nil
	}
	req.limit = r.Limit
	if r.Data != nil {
		req.buf = append(req.buf, r.Data...)
		req.op.Data = req.buf
	}
	switch r.Type {
	case protocol.TypePresenceSubscribe, protocol.TypePresenceUnsubscribe:
		req.event = string(r.Event)
		req.mask = kindMask(presence.ParseKind(req.event))
	case protocol.TypePresenceUnsubscribeAll:
		req.mask = maskPresence
	case protocol.TypeBind, protocol.TypeUnbind:
		req.event = string(r.Event)
		switch {
		case r.Event == nil:
			req.mask = maskMessages
		case req.event == protocol.EventAll:
			req.mask = maskAll
		default:
			req.mask = maskNamed
		}
	case protocol.TypePublish:
		req.event = string(r.Event)
	}
	if e == nil {
		l.withoutRoom(c, req, r.Room)
		return
	}
	c.inflight++
	if lim := l.node.opts.Limits.InFlight; lim > 0 && int(c.inflight) >= lim && c.flags&flagPaused == 0 {
		l.m.limit("in_flight")
		c.flags |= flagPaused
		l.watch(c)
	}
	e.queue = append(e.queue, req)
	l.readyRoom(c, e)
}

// withoutRoom answers a request for a room that the connection is not in.
func (l *loop) withoutRoom(c *conn, req *request, room []byte) {
	switch req.typ {
	case protocol.TypeBind, protocol.TypePresenceJoin, protocol.TypePresenceUpdate, protocol.TypePresenceSubscribe:
		l.ackError(c, req.typ, req.ack, req.began, notInRoom(string(room)))
	default: // leaves and unsubscribes succeed
		l.ackPlain(c, req, c.key.App.ID, string(room))
	}
	req.release()
}

func notInRoom(room string) *presence.Error {
	return presence.Errorf(presence.CodeNotInRoom, "this connection is not in room %q: join the room first", room).WithField("roomId")
}

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
		r := w.req
		if r.freed || r.began != w.began || r.entry == nil {
			continue
		}
		c := l.conns.get(r.ref)
		if c == nil {
			continue
		}
		if r.entry.current == r { // at a later step: the store's own 2 s began with that
			l.doubted(c, r, presence.Errorf(presence.CodeUnavailable, "the store answers too slowly: only a part of the request was done; try again"))
			continue
		}
		i := slices.Index(r.entry.queue, r)
		if i < 0 {
			continue
		}
		r.entry.queue = slices.Delete(r.entry.queue, i, i+1)
		l.finishRequest(c, r, presence.Errorf(presence.CodeUnavailable, "the store does not answer: nothing was sent; try again"))
		r.release()
	}
	if len(l.waits) == 0 {
		l.waits = nil
	}
}

// startNext sends the next request of e to the store, answering on the way
// those that need none.
func (l *loop) startNext(c *conn, e *entry) {
	for e.current == nil && len(e.queue) > 0 {
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
	if e.current == nil {
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
	if r.typ == protocol.TypeUnknown { // no request of a client: the session that an upgrade asked for
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
	r.release()
	switch {
	case c.state != stateOpen:
	case ended:
		// Nothing of this connection can succeed again: its client must come back.
		l.closeWith(c, closeTryAgain, "this connection is no longer held here; connect again", endError)
	default:
		l.ready = append(l.ready, readyEntry{c.ref(), e})
	}
}

// closeTryAgain is "try again later" of the IANA registry of close codes.
const closeTryAgain = 1013

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
			r.op.Kind = presence.OpUntrack
			r.op.Revision = 0
			l.noteWait(r)
			return l.submit(c, e, r)
		}
		if err == nil {
			e.joined = false
		}
	case protocol.TypePresenceJoin, protocol.TypePresenceUpdate:
		if err == nil {
			e.answer = max(e.answer, r.op.Revision)
		} else if r.typ == protocol.TypePresenceJoin && e.answer == 0 && err.Code == presence.CodeLimit {
			l.setMember(e, false) // the one refusal that proves that it is none
		}
	case protocol.TypePresenceLeave:
		if err == nil {
			e.answer = max(e.answer, r.op.Revision)
			l.setMember(e, false)
		}
	case protocol.TypeBind, protocol.TypeUnbind, protocol.TypePresenceSubscribe,
		protocol.TypePresenceUnsubscribe, protocol.TypePresenceUnsubscribeAll:
		return l.proceedSubscriptions(c, e, r)
	}
	l.finishRequest(c, r, err)
	return false
}

// finishRequest acknowledges r, unless that was done, and counts it.
func (l *loop) finishRequest(c *conn, r *request, err *presence.Error) {
	if r.acked {
		return
	}
	r.acked = true
	if c.inflight > 0 && r.entry != nil {
		c.inflight--
		if c.flags&flagPaused != 0 && int(c.inflight) < l.node.opts.Limits.InFlight {
			l.resumeReading(c)
			if c.state != stateOpen {
				return
			}
		}
	}
	if err != nil {
		l.ackError(c, r.typ, r.ack, r.began, err)
		return
	}
	app, room := r.entry.room.app, r.entry.room.name
	switch r.typ {
	case protocol.TypePresenceGet:
		if r.tooLong > 0 {
			l.m.limit("reply")
			limit := l.node.opts.Limits.Reply
			l.ackError(c, r.typ, r.ack, r.began, presence.Errorf(presence.CodeTooLarge,
				"the list of members has about %d bytes; the limit is %d: pass a limit", r.tooLong, limit).WithField("limit").WithLimit(int64(limit)))
			return
		}
		l.ackRevision(c, r, r.reply)
	case protocol.TypePresenceCount:
		var digits [20]byte
		l.ackRevision(c, r, strconv.AppendInt(digits[:0], r.op.Count, 10))
	case protocol.TypePublish:
		l.ackData(c, r.typ, r.ack, r.op.Data)
		l.m.took(r.typ, l.now.Sub(r.began))
	default:
		l.ackPlain(c, r, app, room)
	}
}

// ackPlain acknowledges what is answered with a name.
func (l *loop) ackPlain(c *conn, r *request, app, room string) {
	l.m.done(r.typ, "", l.now.Sub(r.began))
	if r.ack == nil {
		return
	}
	s := l.scratch[:0]
	switch r.typ {
	case protocol.TypeRoomJoin:
		if c.flags&flagText != 0 {
			s = protocol.AppendAckText(s, r.ack, app, ":", room)
		} else {
			s = protocol.AppendAckRoom(s, r.ack, app, room)
		}
	case protocol.TypeBind, protocol.TypeUnbind:
		if r.mask == maskMessages {
			s = protocol.AppendAckText(s, r.ack, app, ":", room)
		} else {
			s = protocol.AppendAckText(s, r.ack, app, ":", room, protocol.MessageInfix, r.event)
		}
	case protocol.TypePresenceJoin:
		s = protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "join")
	case protocol.TypePresenceUpdate:
		s = protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "update")
	case protocol.TypePresenceLeave:
		s = protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "leave")
	case protocol.TypePresenceSubscribe, protocol.TypePresenceUnsubscribe:
		s = protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, r.event)
	case protocol.TypePresenceUnsubscribeAll:
		s = protocol.AppendAck(s, r.ack, jsonTrue)
	default: // room leave
		s = protocol.AppendAckText(s, r.ack, app, ":", room)
	}
	l.scratch = s
	l.reply(c, s)
}

var jsonTrue = []byte("true")

func (l *loop) ackData(c *conn, t protocol.Type, ackID, data []byte) {
	l.m.done(t, "", 0)
	if ackID == nil {
		return
	}
	l.scratch = protocol.AppendAck(l.scratch[:0], ackID, data)
	l.reply(c, l.scratch)
}

// ackRevision answers with data that is true at a revision. A long list is
// sent by itself: it may be larger than the outbound queue allows.
func (l *loop) ackRevision(c *conn, r *request, data []byte) {
	l.m.done(r.typ, "", l.now.Sub(r.began))
	if r.ack == nil {
		return
	}
	if len(data) < 16<<10 {
		l.scratch = protocol.AppendAckRevision(l.scratch[:0], r.ack, data, r.op.Revision)
		l.reply(c, l.scratch)
		return
	}
	l.flushReplies()
	if c.state == stateOpen {
		l.stats.FramesOut++
		l.send(c, textFrame(protocol.AppendAckRevision(nil, r.ack, data, r.op.Revision)), true)
	}
}

func (l *loop) ackError(c *conn, t protocol.Type, ackID []byte, began time.Time, err *presence.Error) {
	l.m.done(t, err.Code, l.now.Sub(began))
	if ackID == nil || c.state != stateOpen {
		return
	}
	l.scratch = protocol.AppendAckError(l.scratch[:0], ackID, err)
	l.reply(c, l.scratch)
}

// causedBy reports whether b is the event or message that r has caused.
func (r *request) causedBy(c *conn, b *broadcast) bool {
	if r.acked || r.doubt {
		return false
	}
	if b.kind == 0 {
		return r.typ == protocol.TypePublish && b.id == r.id
	}
	return r.kinds&kindMask(b.kind) != 0 && b.conn == c.id && b.rev > r.entry.answer
}

// acknowledge answers r because its own event has come first; the store's
// answer then finds it acknowledged.
func (l *loop) acknowledge(c *conn, r *request, b *broadcast) {
	if b.kind != 0 {
		r.entry.answer = b.rev
	}
	l.finishRequest(c, r, nil)
}
