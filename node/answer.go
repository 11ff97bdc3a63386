package node

import (
	"strconv"
	"time"

	presence "presencesets"
	"presencesets/protocol"
)

// Acknowledgements: each request gets exactly one, before the event that it
// causes when that goes to the same connection.

// finishRequest acknowledges r, unless that was done, and counts it.
func (l *loop) finishRequest(c *conn, r *request, err *presence.Error) {
	if r.acked {
		return
	}
	if r.entry == nil { // acknowledging what travelled with it has ended the connection
		l.finishLate(r, err)
		return
	}
	r.acked = true
	if r.errand != errandClient {
		return
	}
	if c.inflight > 0 {
		c.inflight--
		if c.flags&flagPaused != 0 && int(c.inflight) < l.node.opts.Limits.InFlight {
			l.resumeReading(c)
			if c.state != stateOpen {
				return
			}
		}
	}
	if err == nil && r.tooLong > 0 {
		err = l.tooLong(r)
	}
	l.tally(r, err)
	if r.ack == nil || c.state != stateOpen {
		return
	}
	app, room, text := r.entry.room.app, r.entry.room.name, c.flags&flagText != 0
	if len(r.reply) >= bigReply && err == nil {
		// By itself: it may be larger than the outbound queue allows.
		l.flushReplies()
		if c.state == stateOpen {
			l.stats.FramesOut++
			l.send(c, textFrame(l.appendAck(nil, r, app, room, text, nil)), true)
		}
		return
	}
	l.scratch = l.appendAck(l.scratch[:0], r, app, room, text, err)
	l.reply(c, l.scratch)
}

// bigReply is the length of a list of members that is sent by itself.
const bigReply = 16 << 10

func (l *loop) tooLong(r *request) *presence.Error {
	l.m.limit("reply")
	limit := l.node.opts.Limits.Reply
	return presence.Errorf(presence.CodeTooLarge, "the list of members has about %d bytes; the limit is %d: pass a limit",
		r.tooLong, limit).WithField("limit").WithLimit(int64(limit))
}

// tally counts how a request ended.
func (l *loop) tally(r *request, err *presence.Error) {
	code := presence.Code("")
	if err != nil {
		code = err.Code
	}
	l.m.done(r.typ, code, l.now.Sub(r.began))
}

// appendAck appends the acknowledgement of r, without a websocket header. text
// says that a room join is answered with text (wire protocol 6.2).
func (l *loop) appendAck(s []byte, r *request, app, room string, text bool, err *presence.Error) []byte {
	if err != nil {
		return protocol.AppendAckError(s, r.ack, err)
	}
	switch r.typ {
	case protocol.TypePresenceGet:
		return protocol.AppendAckRevision(s, r.ack, r.reply, r.op.Revision)
	case protocol.TypePresenceCount:
		var digits [20]byte
		return protocol.AppendAckRevision(s, r.ack, strconv.AppendInt(digits[:0], r.op.Count, 10), r.op.Revision)
	case protocol.TypePublish:
		return protocol.AppendAck(s, r.ack, r.op.Data)
	case protocol.TypeRoomJoin:
		if text {
			return protocol.AppendAckText(s, r.ack, app, ":", room)
		}
		return protocol.AppendAckRoom(s, r.ack, app, room)
	case protocol.TypeBind, protocol.TypeUnbind:
		if r.mask == maskMessages {
			return protocol.AppendAckText(s, r.ack, app, ":", room)
		}
		return protocol.AppendAckText(s, r.ack, app, ":", room, protocol.MessageInfix, r.event)
	case protocol.TypePresenceJoin:
		return protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "join")
	case protocol.TypePresenceUpdate:
		return protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "update")
	case protocol.TypePresenceLeave:
		return protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, "leave")
	case protocol.TypePresenceSubscribe, protocol.TypePresenceUnsubscribe:
		return protocol.AppendAckText(s, r.ack, app, ":", room, protocol.PresenceInfix, r.event)
	case protocol.TypePresenceUnsubscribeAll:
		return protocol.AppendAck(s, r.ack, jsonTrue)
	}
	return protocol.AppendAckText(s, r.ack, app, ":", room) // room leave
}

// ackPlain acknowledges what needs no room of its connection.
func (l *loop) ackPlain(c *conn, r *request, app, room string) {
	l.tally(r, nil)
	if r.ack == nil {
		return
	}
	l.scratch = l.appendAck(l.scratch[:0], r, app, room, c.flags&flagText != 0, nil)
	l.reply(c, l.scratch)
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
