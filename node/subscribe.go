package node

import (
	"slices"

	presence "presencesets"
	"presencesets/protocol"
)

// Subscriptions of a connection in a room.
//
// The three requests that presence.subscribe(fn) sends at once, and whatever
// else of their kind waits behind them, are one change: one track in the
// session, one watch, then every acknowledgement. Steps:
//
//	1 track      the session lists what is to be; what was unsubscribed ends at once
//	2 watch      the room is hosted; events above the answered revision follow
//	3 messages   the room's message channel is confirmed
const (
	stageTrack = iota + 1
	stageWatch
	stageMessages
)

// startSubscriptions begins the change that r and its chain make.
func (l *loop) startSubscriptions(c *conn, e *entry, r *request) (sent bool) {
	if !e.joined {
		for at := r; at != nil; at = at.chain {
			if at.typ == protocol.TypeBind || at.typ == protocol.TypePresenceSubscribe {
				l.finishRequest(c, at, notInRoom(e.room.name))
			} else {
				l.finishRequest(c, at, nil)
			}
		}
		chain := r.chain
		r.chain = nil
		chain.abandon()
		return false
	}
	mask, binds := e.mask, slices.Clone(e.binds)
	for at := r; at != nil; at = at.chain {
		switch at.typ {
		case protocol.TypePresenceSubscribe:
			mask |= at.mask
		case protocol.TypePresenceUnsubscribe, protocol.TypePresenceUnsubscribeAll:
			mask &^= at.mask
		case protocol.TypeBind:
			if at.mask == maskAll {
				mask |= maskAll
				break
			}
			name := string(protocol.AppendString(nil, at.event))
			if slices.Contains(binds, name) {
				break
			}
			if limit := l.node.opts.Limits.Subscriptions; limit > 0 && len(binds) >= limit {
				l.m.limit("subscriptions")
				l.finishRequest(c, at, presence.Errorf(presence.CodeLimit,
					"this connection listens to %d events of room %q; the limit is %d: unsubscribe from one first",
					len(binds), e.room.name, limit).WithField("event").WithLimit(int64(limit)))
				break
			}
			binds = append(binds, name)
		case protocol.TypeUnbind:
			if at.mask&maskAll != 0 {
				mask &^= maskAll
			}
			if at.mask == maskMessages {
				binds = nil
			} else if at.mask == maskNamed {
				name := string(protocol.AppendString(nil, at.event))
				binds = slices.DeleteFunc(binds, func(b string) bool { return b == name })
			}
		}
	}
	if len(binds) > 0 {
		mask |= maskNamed
	} else {
		mask &^= maskNamed
	}
	if mask == e.mask && slices.Equal(binds, e.binds) {
		l.finishChain(c, r, nil)
		return false
	}
	// What was unsubscribed is not sent from here on.
	l.setBinds(e, slices.DeleteFunc(slices.Clone(e.binds), func(b string) bool { return !slices.Contains(binds, b) }))
	keep := e.mask & mask
	if len(e.binds) == 0 {
		keep &^= maskNamed
	}
	l.setMask(e, keep)

	r.want, r.wantMask, r.stage = binds, mask, stageTrack
	r.op.Kind, r.op.MaxRooms = presence.OpTrack, l.node.opts.Limits.Rooms
	r.op.Track = l.trackLine(c, e, mask, binds)
	return l.submit(c, e, r)
}

// proceedSubscriptions takes the change one step further.
func (l *loop) proceedSubscriptions(c *conn, e *entry, r *request) (more bool) {
	if r.op.Err != nil || r.doubt {
		// Refused, or the client was told that it might be: then it does not
		// listen, and the session lists more than is true, which harms nobody.
		l.dropPending(e)
		l.finishChain(c, r, r.op.Err)
		return false
	}
	switch r.stage {
	case stageWatch:
		if r.errand == errandRestore {
			if l.replay(c, e, r); c.state != stateOpen {
				return false
			}
		}
		for k := range e.sinceOf {
			if r.wantMask&^e.mask&(1<<k) != 0 {
				e.sinceOf[k] = r.op.Revision
			}
		}
		l.setMask(e, e.mask|r.wantMask&maskPresence)
	case stageMessages:
		l.setBinds(e, r.want)
		l.setMask(e, e.mask|r.wantMask&maskMessages)
	}
	l.dropPending(e)
	switch {
	case r.stage < stageWatch && r.wantMask&^e.mask&maskPresence != 0:
		r.stage = stageWatch
		r.op.Kind = presence.OpWatch
		r.op.Replay = nil
		if r.errand == errandRestore {
			r.op.Replay = &r.from
		}
		e.waitPresence = true
		e.room.want(l, 1, 0)
	case r.stage < stageMessages && (r.wantMask&^e.mask&maskMessages != 0 || !slices.Equal(r.want, e.binds)):
		r.stage = stageMessages
		r.op.Kind = presence.OpWatchMessages
		e.waitMessages = true
		e.room.want(l, 0, 1)
	default:
		l.finishChain(c, r, nil)
		return false
	}
	r.op.Revision, r.op.Sink = 0, e.room
	l.noteWait(r)
	return l.submit(c, e, r)
}

// setBinds changes the event names that e listens to, and the room's count of them.
func (l *loop) setBinds(e *entry, binds []string) {
	e.room.named.Add(int32(len(binds) - len(e.binds)))
	if len(binds) == 0 {
		binds = nil
	}
	e.binds = binds
}
