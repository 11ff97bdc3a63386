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
