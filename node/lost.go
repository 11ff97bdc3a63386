package node

import presence "presencesets"

// How a connection's session ends on this node, whatever its socket does:
//
//	departed   its client went (a clean close): every membership ends now
//	lost       the socket is of no more use: the store keeps the memberships for
//	           the grace, and any node may resume them
//	taken      another socket has the connection: nothing is ended, nothing is
//	           closed, and this socket is told nothing any more
//
// Requests that are with the store go on; their acknowledgements are owed to the
// socket that resumes the connection (late.go). Those that were not sent are
// refused, and that refusal is owed, too.

var errTaken = presence.Errorf(presence.CodeFenced, "another socket has this connection; nothing was done")

var errUnsent = presence.Errorf(presence.CodeUnavailable, "the socket was lost before the request was sent to the store; try again")

// departSession ends every membership of c, once.
func (l *loop) departSession(c *conn) {
	if !l.endsNow(c, endClosed) {
		return
	}
	rooms, unanswered := l.forgetRooms(c, nil)
	l.node.opts.Store.Depart(presence.Departure{
		App: c.key.App.ID, Conn: c.id, Inc: c.inc,
		Reason: presence.ReasonClosed, Rooms: rooms, Unanswered: unanswered,
	})
}

// loseSession leaves c's memberships to the store for the grace of its app.
func (l *loop) loseSession(c *conn, why end) {
	if c.flags&flagEnded == 0 && c.state == stateAuthorising && c.in != nil && c.in.hand != nil {
		c.flags |= flagEnded
		c.in.hand = nil // when its session opens after all, nobody waits for it (orphaned)
		return
	}
	if !l.endsNow(c, why) {
		return
	}
	grace := l.node.grace(c.key)
	if why == endDrain {
		grace = max(grace, l.node.opts.DrainGrace)
	}
	d := l.detachment(c)
	d.Grace, d.Reason = grace, presence.ReasonTimeout
	l.node.opts.Store.Detach(d)
}

// takeSession forgets c in silence: a socket of incarnation inc has its
// connection now.
func (l *loop) takeSession(c *conn) {
	if !l.endsNow(c, endTaken) {
		return
	}
	c.flags |= flagTaken
	d := l.detachment(c)
	d.Grace, d.Reason = l.node.grace(c.key), presence.ReasonTimeout
	l.node.opts.Store.Release(d)
	c.inflight = 0
	if c.flags&flagPaused != 0 { // what it has sent is refused at once, too
		l.resumeReading(c)
	}
}

// endsNow reports whether c has a session that has not ended, and notes that it
// has.
func (l *loop) endsNow(c *conn, why end) bool {
	if c.flags&flagEnded != 0 || c.state != stateOpen {
		return false
	}
	c.flags |= flagEnded
	if c.flags&flagReclaim != 0 {
		c.flags &^= flagReclaim
		l.reclaims.flying--
	}
	l.m.disconnect(why)
	l.node.logEnd(l, c, why)
	return true
}

// detachment is what the store must know of a lost socket: c's, which is in no
// room afterwards.
func (l *loop) detachment(c *conn) presence.Detachment {
	d := presence.Detachment{App: c.key.App.ID, Conn: c.id, Inc: c.inc}
	d.Unsent = unsent(int(c.fd))
	if c.out != nil {
		for _, s := range c.out.segs {
			d.Unsent += len(s.b)
		}
	}
	for e := c.entries; e != nil; e = e.next {
		if e.restoring || e.mask&maskPresence != 0 {
			d.Handed = append(d.Handed, presence.Handed{
				Room: e.room.name, Revision: e.lastHanded(), Kinds: e.mask & maskPresence, // 0 while it is being resumed: all
			})
		}
	}
	box := l.node.late.open(c.id, l.node.grace(c.key))
	d.Rooms, d.Unanswered = l.forgetRooms(c, box)
	l.node.late.settle(box)
	return d
}

// lastHanded is the revision up to which e's client knows what happened; 0 when
// that is not known.
func (e *entry) lastHanded() presence.Revision {
	if e.restoring {
		return e.handed
	}
	known := presence.Revision(1<<63 - 1)
	for k, since := range e.sinceOf {
		if e.mask&(1<<k) != 0 {
			known = min(known, max(since, e.handed))
		}
	}
	return max(known, 1) // 1: the room was empty, and nothing came since
}

// forgetRooms takes c out of every room. It returns those in which it may be a
// member, and whether a request is with the store. Acknowledgements that are
// owed go into box; nil: nobody will ask for them.
func (l *loop) forgetRooms(c *conn, box *lateBox) (rooms []string, unanswered bool) {
	for e := c.entries; e != nil; e = e.next {
		if e.member {
			rooms = append(rooms, e.room.name)
		}
		if e.current != nil {
			unanswered = true
			l.makeLate(c, e.current, box)
			e.current = nil
		}
		for _, r := range e.queue {
			l.makeLate(c, r, box)
			for at := r; at != nil; at = at.chain {
				l.finishLate(at, errUnsent)
			}
			r.abandon()
		}
		e.queue = nil
		e.joined = false
		l.forget(e)
	}
	c.entries = nil
	return rooms, unanswered
}

// makeLate has r's acknowledgement, and those of what travels with it, go into
// box. Its entry is forgotten.
func (l *loop) makeLate(c *conn, r *request, box *lateBox) {
	for ; r != nil; r = r.chain {
		if box != nil && r.errand == errandClient && !r.acked && r.ack != nil {
			r.late, r.room, r.text = box, r.entry.room, c.flags&flagText != 0
			l.node.late.owe(box)
		}
		r.entry = nil
	}
}
