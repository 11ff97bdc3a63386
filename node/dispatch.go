package node

import (
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
	if c.state != stateOpen { // closing
		if h.OpCode == ws.OpText && h.Fin {
			l.refuseLate(c, payload)
		}
		return
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
	clean, why := false, endLost
	switch code {
	case ws.StatusNormalClosure, ws.StatusGoingAway, ws.StatusNoStatusRcvd:
		clean, why = true, endClosed
	}
	l.startAll(c)
	l.flushReplies()
	if c.state != stateOpen {
		return
	}
	if clean {
		l.departSession(c)
	} else {
		l.loseSession(c, why)
	}
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
		if r.AckID == nil && r.Malformed {
			if c.bad++; c.bad >= badFrames {
				l.closeWith(c, ws.StatusPolicyViolation, "the third message that is no request", endPolicy)
			}
			return
		}
		if limited := l.admitRate(c, protocol.LimitOther); limited != nil {
			err = limited // rubbish is not cheaper than sense
		}
		l.ackError(c, r.Type, r.AckID, l.now, err)
		return
	}
	if err := l.admit(c, r); err != nil {
		l.ackError(c, r.Type, r.AckID, l.now, err)
		return
	}
	if c.flags&flagTaken != 0 { // never applied, and never in silence
		l.ackError(c, r.Type, r.AckID, l.now, errTaken)
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
